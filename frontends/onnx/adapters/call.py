"""One ONNX node on its way to graphc: the operator, its inputs as values, its attributes as Python values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import InvalidModel, UnsupportedOp, escape
from graphc.frozen import Frozen
from graphc.ir import Op, Value
from graphc.ops import BY_NAME
from graphc.ops.base import const
from graphc.types import int64

from ..attributes import field_types, scalar_attribute


class Call(Frozen):
    """A node, not made yet.

    Attributes:
        outputs: how many outputs the node names.
        used: how many it has to make, where something reads only the first of them; None for all.
        captured: how many of the inputs, at the end, its bodies read from outside.
    """

    op: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    outputs: int
    name: str
    domain: str = ""
    captured: int = 0
    used: int | None = None

    def input(self, i: int) -> Value | None:
        """Input number `i`; None when it is omitted."""
        return self.inputs[i] if i < len(self.inputs) else None

    def required(self, i: int) -> Value:
        """Input number `i`, which must be there. Raises `InvalidModel`."""
        x = self.input(i)
        if x is None:
            raise InvalidModel(f"needs input {i}, which is missing", node=self.label)
        return x

    @property
    def label(self) -> str:
        return f"{self.op} '{escape(self.name)}'"

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def with_attributes(self, **attributes: Any) -> Call:
        """The same call with attributes added or replaced; those that are None are removed."""
        merged = {**self.attributes, **attributes}
        return replace(self, attributes={k: v for k, v in merged.items() if v is not None})

    def without(self, *names: str) -> Call:
        """The same call without these attributes."""
        return replace(self, attributes={k: v for k, v in self.attributes.items() if k not in names})

    def with_input(self, i: int, x: Value | None) -> Call:
        """The same call with input number `i` replaced; in between, inputs are omitted."""
        inputs = [*self.inputs, *(None for _ in range(i + 1 - len(self.inputs)))]
        inputs[i] = x
        return replace(self, inputs=tuple(inputs))

    def constant(self, array: npt.ArrayLike, what: str) -> Value:
        """A constant that belongs to this node, called `node/what`."""
        return const(np.asarray(array), name=f"{self.name}/{what}")

    def integers(self, values: Sequence[int], what: str) -> Value:
        """A constant vector of int64."""
        return const(np.asarray(list(values), np.int64), int64, name=f"{self.name}/{what}")

    def make(self, op: str, *xs: Value | None, what: str = "", **attributes: Any) -> Value:
        """The output of a further node, called `node/what`, or `node` when that is empty."""
        name = f"{self.name}/{what}" if what else self.name
        return Call(op, xs, attributes, 1, name).apply()[0]

    def apply(self) -> tuple[Value, ...]:
        """Make the node. Raises `UnsupportedOp` for what graphc's operator does not have."""
        cls: Any = BY_NAME.get((self.domain, self.op))
        if cls is None:
            raise UnsupportedOp(f"{self.op} is not supported", node=self.label)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        kinds = field_types(cls)
        given: dict[str, Any] = {}
        for name, value in self.attributes.items():
            if name not in fields or not fields[name].metadata.get("onnx", True):
                raise UnsupportedOp(f"attribute '{name}' of {self.op} is not supported", node=self.label)
            given[name] = scalar_attribute(value, kinds[name])
        for name, field in fields.items():
            if name == "outputs" and not field.metadata.get("onnx", True):
                given[name] = self.outputs if self.used is None else self.used
            elif name == "captured":
                given[name] = self.captured
            elif name not in given and field.default is dataclasses.MISSING:
                raise InvalidModel(f"attribute '{name}' is missing", node=self.label)
        op: Op = cls(**given)
        return op.apply(self.inputs, self.name)


# An adapter gives the call in the newest form, or, where that takes several nodes, the outputs.
Adapter = Callable[[Call], Call | Sequence[Value]]
