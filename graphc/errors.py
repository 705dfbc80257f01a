"""The exception tree. Whatever a user gives graphc, the outcome is a right result or one of these."""

from __future__ import annotations


def escape(text: str, limit: int = 200) -> str:
    """`text` made safe for a terminal: control characters escaped, and cut after `limit` characters."""
    safe = text[: limit + 1]
    if not safe.isprintable():  # nearly all are, and every node's name comes by here
        safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in safe)
    return safe if len(text) <= limit else f"{safe[:limit]}… ({len(text)} characters)"


class GraphcError(Exception):
    """Base of every error that graphc raises on purpose.

    Args:
        message: what is wrong, where, and expected against got.
        node: the node at fault, as `Conv 'conv1'`.
        value: the name of the value at fault.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, node: str | None = None, value: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message, self.node, self.value, self.hint = message, node, value, hint

    def __str__(self) -> str:
        text = escape(self.message, 4000) if "\n" not in self.message else self.message
        if self.node and self.node not in text:
            text = f"{escape(self.node)}: {text}"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.message, self.node, self.value, self.hint)


def _restore(
    cls: type[GraphcError], message: str, node: str | None, value: str | None, hint: str | None
) -> GraphcError:
    error = cls.__new__(cls)
    GraphcError.__init__(error, message, node=node, value=value, hint=hint)
    return error


class ModelError(GraphcError, ValueError):
    """The model cannot be used."""


class InvalidModel(ModelError):
    """The model breaks the rules of its format or of an operator."""


class ShapeError(InvalidModel):
    """Shapes, ranks or axes do not fit together."""


class TypeMismatch(InvalidModel):
    """An element type that the operator does not take."""


class UnsupportedOp(ModelError):
    """Operators, versions or element types that graphc does not have; the message lists all of the model's."""


class UnsupportedVersion(ModelError):
    """An IR version or opset that graphc does not know."""


class ExternalDataError(ModelError):
    """External tensor data that is missing, too short, or outside the model's folder."""


class ResourceLimit(ModelError):
    """The model would cost more than `Limits` allows."""


class FeedError(GraphcError, ValueError):
    """An input array (or a requested output name) does not fit the model."""


class ExecutionError(GraphcError, ValueError):
    """A value computed at run time breaks an operator's contract: an index out of range, an integer divided by zero."""


class Diverged(ExecutionError):
    """Training made a loss that is not a number."""


class CompileError(GraphcError):
    """The graph is valid, but cannot be transformed or compiled as asked."""


class BackendUnavailable(GraphcError):
    """The backend is not known or not installed; the hint says how to install it."""


class Timeout(GraphcError):
    """`Limits.timeout_s` or `timeout=` ran out."""


class VerificationError(GraphcError):
    """Two results that must agree do not; raised by the pass manager's checks."""
