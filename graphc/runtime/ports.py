"""Inputs and outputs as the user of a model sees them."""

from __future__ import annotations

from graphc.errors import escape
from graphc.frozen import Frozen
from graphc.types import DType, MapType, SequenceType, Shape, TensorType, Type


class Port(Frozen):
    """An input or an output of a model: `name` and `type`, with `shape` and `dtype` as shortcuts."""

    name: str
    type: Type

    @property
    def shape(self) -> Shape | None:
        """Ints and symbols; None for an unknown rank, and for what is no tensor."""
        return self.type.shape if isinstance(self.type, TensorType) else None

    @property
    def dtype(self) -> DType:
        """The element type; for sequences, optionals and maps that of what is in them."""
        inner = self.type
        while not isinstance(inner, TensorType):
            inner = inner.element
        return inner.dtype

    def __str__(self) -> str:
        return f"{escape(self.name)}: {describe(self.type)}"


def describe(type: Type) -> str:
    """A type in words that a caller knows: `float32 [batch,3,224,224]`."""
    if isinstance(type, MapType):
        return f"map of {type.key} to {type.value}"
    if not isinstance(type, TensorType):
        return f"{'sequence' if isinstance(type, SequenceType) else 'optional'} of {describe(type.element)}"
    if type.shape is None:
        return f"{type.dtype} of any rank"
    return f"{type.dtype} [{','.join(map(str, type.shape))}]"
