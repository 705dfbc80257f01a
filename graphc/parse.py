"""Listing -> graph: the inverse of `graphc.text`."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy.typing as npt

from graphc.dims import Symbol, SymDim, parse_dim, substitute, unknown
from graphc.errors import GraphcError, InvalidModel
from graphc.ir import Graph, Op, Value
from graphc.ops import BY_NAME
from graphc.ops.base import Constant
from graphc.scanner import Scanner
from graphc.text import inline_tensor
from graphc.types import BY_SHORT, DType, MapType, OptionalType, SequenceType, Tensor, TensorType, Type, same_type

_SPACE = re.compile(r"(?:\s|//[^\n]*)*")
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_./-]*|"(?:[^"\\]|\\.)*"')
_LABEL = re.compile(r'%(?:\d+|[A-Za-z_][A-Za-z0-9_./-]*|"(?:[^"\\]|\\.)*")(?:~\d+)?')
_NUMBER = re.compile(r"-?(?:inf|nan|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")
_BY_PRINTED_NAME = {
    (name if domain in ("", "graphc") else f"{domain}.{name}"): op for (domain, name), op in BY_NAME.items()
}


def parse(text: str, weights: Mapping[str, npt.ArrayLike] | None = None) -> Graph:
    """The graph that `text` lists. Types are inferred, and compared with those that the listing states.

    Args:
        text: a listing as `str(graph)` prints it.
        weights: the constants that the listing names (`const @name`), as `graphc.text.weights` gives them.

    Raises:
        InvalidModel: with the line at fault.
    """
    parser = _Parser(text, weights or {})
    try:
        return parser.graph()
    except GraphcError as e:
        message = e.message if e.message.startswith("line ") else f"line {parser.line}: {e.message}"
        raise InvalidModel(message, node=e.node, value=e.value, hint=e.hint) from e
    except ValueError as e:  # a string or a number that is none
        raise InvalidModel(f"line {parser.line}: {e}") from e
    except RecursionError:
        raise InvalidModel("the listing is nested too deeply") from None


class _Parser(Scanner):
    def __init__(self, text: str, weights: Mapping[str, npt.ArrayLike]):
        super().__init__(text, _SPACE)
        self.weights = weights
        self.values: dict[str, Value] = {}
        self.unknown: dict[str, SymDim] = {}  # as called in the listing -> as called in this process
        self.renamed: dict[str, str] = {}  # unknown sizes: inferred -> stated

    # -- names --------------------------------------------------------------------------------------------------------
    def name(self) -> str:
        text = self.match(_NAME, "a name")
        return str(json.loads(text)) if text[0] == '"' else text

    def label(self) -> tuple[str, str]:
        """A value's label and the name in it (empty for numbers)."""
        label = self.match(_LABEL, "a value such as %x")
        name = re.sub(r"~\d+$", "", label[1:])
        if name.isdigit():
            name = ""
        return label, str(json.loads(name)) if name.startswith('"') else name

    def operand(self) -> Value:
        label, _ = self.label()
        if self.accept("#"):
            label += "#" + self.match(re.compile(r"\d+"), "an output number")
        if label not in self.values:
            raise InvalidModel(f"{label} is not defined above")
        return self.values[label]

    # -- graphs -------------------------------------------------------------------------------------------------------
    def graph(self) -> Graph:
        self.expect("graph")
        name = self.name() if self.accept("@") else ""
        inputs = self.parameters()
        self.expect("{")
        self.statements("return")
        outputs, names = [], []
        self.skip()
        while self.text.startswith("%", self.at):
            label = self.text[self.at + 1 :]
            outputs.append(self.operand())
            known = _NAME.match(label)
            names.append(self.name() if self.accept("as") else known.group() if known else "")
            self.accept(",")
            self.skip()
        self.expect("}")
        self.end()
        return Graph(inputs, outputs, names, name=name)

    def parameters(self) -> list[Value]:
        self.expect("(")
        inputs = []
        while not self.accept(")"):
            label, name = self.label()
            self.expect(":")
            self.values[label] = Value(self.type(), name=name or label[1:])
            inputs.append(self.values[label])
            self.accept(",")
        return inputs

    def statements(self, end: str) -> None:
        while not self.accept(end):
            self.statement()

    def statement(self) -> None:
        self.skip()
        start = self.at
        label, name = self.label()
        stated: list[Type] = []
        while True:
            if self.accept("#"):
                self.match(re.compile(r"\d+"), "an output number")
            self.expect(":")
            stated.append(self.type())
            if not self.accept(","):
                break
            self.label()
        self.expect("=")
        if self.accept("const"):
            if not isinstance(stated[0], TensorType):
                raise InvalidModel(f"a constant is a tensor, not {stated[0]}")
            outputs = Constant(self.tensor(stated[0])).apply((), name)
        else:
            outputs = self.call(name)
        if len(stated) != len(outputs) or not all(
            same_type(v.type, t, self.renamed) for v, t in zip(outputs, stated, strict=True)
        ):
            self.at = start
            inferred = ", ".join(str(v.type) for v in outputs)
            raise InvalidModel(f"{label} is stated as {', '.join(map(str, stated))}, inferred {inferred}")
        for i, v in enumerate(outputs):
            self.values[f"{label}#{i}" if i else label] = v

    def call(self, name: str) -> tuple[Value, ...]:
        op_name = self.name()
        cls = _BY_PRINTED_NAME.get(op_name)
        if cls is None:
            raise InvalidModel(f"no op is called {op_name}")
        self.expect("(")
        operands: list[Value | None] = []
        while not self.accept(")"):
            operands.append(None if self.accept("_") else self.operand())
            self.accept(",")
        attributes: dict[str, Any] = {}
        if self.accept("{"):
            self.skip()
            if self.text.startswith(("%", "yield"), self.at):
                attributes["body"] = self.headerless_body(operands)
            while not self.accept("}"):
                key = self.name()
                self.expect("=")
                self.skip()
                attributes[key] = self.body() if self.is_body() else self.attribute()
                self.accept(",")
        return self.make(cls, attributes).apply(operands, name)

    def make(self, cls: Any, attributes: dict[str, Any]) -> Op:
        valid = [f.name for f in dataclasses.fields(cls)]
        for key, value in attributes.items():
            if key not in valid:
                raise InvalidModel(f"{cls.__name__} has no attribute {key}, valid: {', '.join(valid)}")
            expected = _attribute_types(cls)[key]
            if not _fits(value, expected):
                kind = getattr(expected, "__name__", None) or str(expected)
                raise InvalidModel(f"{cls.__name__}: attribute {key} is {value!r}, expected {kind}")
        try:
            made: Op = cls(**attributes)
        except TypeError as e:
            raise InvalidModel(f"{cls.__name__}: {e}") from e
        return made

    def is_body(self) -> bool:
        return bool(re.compile(r"\(\s*(%|\)\s*\{)").match(self.text, self.at))

    def body(self) -> Graph:
        inputs = self.parameters()
        self.expect("{")
        graph = self.yielded(inputs)
        self.expect("}")
        return graph

    def headerless_body(self, operands: list[Value | None]) -> Graph:
        if None in operands:
            raise InvalidModel("a body without a header needs every operand")
        outer = dict(self.values)
        inputs = [Value(x.type, name=f"x{i}", content=x.content) for i, x in enumerate(operands) if x is not None]
        renamed = dict(zip(operands, inputs, strict=True))
        self.values = {label: renamed.get(v, v) for label, v in outer.items()}
        graph = self.yielded(inputs)
        self.values = outer
        return graph

    def yielded(self, inputs: list[Value]) -> Graph:
        self.statements("yield")
        outputs = []
        self.skip()
        while self.text.startswith("%", self.at):
            outputs.append(self.operand())
            self.accept(",")
            self.skip()
        return Graph(inputs, outputs, [f"y{i}" for i in range(len(outputs))])

    # -- types and attributes -----------------------------------------------------------------------------------------
    def type(self) -> Type:
        word = self.name()
        if word in ("seq", "optional"):
            self.expect("(")
            element = self.type()
            self.expect(")")
            return SequenceType(element) if word == "seq" else OptionalType(element)
        if word == "map":
            self.expect("(")
            key = self.dtype(self.name())
            self.expect(",")
            value = self.dtype(self.name())
            self.expect(")")
            return MapType(key, value)
        dtype = self.dtype(word)
        self.expect("[")
        if self.accept("..."):
            self.expect("]")
            return TensorType(dtype, None)
        dims = []
        for part in self.bracketed():
            try:
                dims.append(substitute(parse_dim(part), self.bind))
            except ValueError as e:
                raise InvalidModel(str(e)) from e
        return TensorType(dtype, tuple(dims))

    def dtype(self, word: str) -> DType:
        if word not in BY_SHORT:
            raise InvalidModel(f"no element type is called {word}")
        return BY_SHORT[word]

    def bind(self, symbol: Symbol) -> SymDim | None:
        if not symbol.is_unknown:
            return None
        if symbol.name not in self.unknown:
            self.unknown[symbol.name] = unknown()
        return self.unknown[symbol.name]

    def bracketed(self) -> list[str]:
        """What stands between commas up to the closing bracket; the opening one has been read."""
        parts, depth, start = [], 0, self.at
        while self.at < len(self.text):
            c = self.text[self.at]
            if c == '"':
                self.match(_NAME, "a string")
                continue
            if depth == 0 and c in ",]":
                parts.append(self.text[start : self.at].strip())
                start = self.at + 1
            depth += (c in "([") - (c in ")]")
            self.at += 1
            if depth < 0:
                return [p for p in parts if p] if parts == [""] else parts
        raise InvalidModel("missing ]")

    def tensor(self, type: TensorType) -> Tensor:
        if self.accept("@"):
            start = self.at
            key = self.match(
                re.compile(r'(?:[A-Za-z_][A-Za-z0-9_./-]*|"(?:[^"\\]|\\.)*"|\d+)(?:~\d+)?[\w.]*'), "a name"
            )
            if key not in self.weights:
                self.at = start
                raise InvalidModel(f"no weights are given for @{key}", hint="Pass weights=graphc.text.weights(graph)")
            tensor = Tensor(self.weights[key], type.dtype)
        else:
            self.skip()
            if self.accept("["):
                start = self.at - 1
                self.bracketed()
                text = self.text[start : self.at]
            else:
                text = self.match(re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,}]+'), "a number")
            found = inline_tensor(text, type)
            if found is None:
                raise InvalidModel(f"{text} is not {type}")
            tensor = found
        if tensor.type != type:
            raise InvalidModel(f"the constant is {tensor.type}, the listing says {type}")
        return tensor

    def attribute(self) -> Any:
        self.skip()
        if self.text.startswith('"', self.at):
            return json.loads(self.match(_NAME, "a string"))
        if self.accept("("):
            items = []
            while not self.accept(")"):
                items.append(self.attribute())
                self.accept(",")
            return tuple(items)
        if self.accept("const"):
            type = self.type()
            if not isinstance(type, TensorType):
                raise InvalidModel(f"a constant is a tensor, not {type}")
            return self.tensor(type)
        for word, value in (("true", True), ("false", False)):
            if self.accept(word):
                return value
        number = _NUMBER.match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            text = number.group()
            return float(text) if re.search(r"[.einf]", text) else int(text)
        start = self.at
        word = self.name()
        if word in BY_SHORT and not self.text.startswith("[", self.at):
            return BY_SHORT[word]
        self.at = start
        return self.type()


@cache
def _attribute_types(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: object, expected: Any) -> bool:
    """True when `value` is of the type that an op's field is declared with; an int also does for a float."""
    parts = typing.get_args(expected)
    if typing.get_origin(expected) is tuple:
        return isinstance(value, tuple) and all(_fits(v, parts[0]) for v in value)
    if parts:
        return any(_fits(value, part) for part in parts)
    if isinstance(value, bool):
        return expected is bool
    return isinstance(value, (int, float) if expected is float else expected)
