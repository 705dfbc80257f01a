"""The verifier finds a stored type that inference does not give, and shows where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphc.errors import InvalidModel
from graphc.ir import Graph
from graphc.parse import parse
from graphc.types import TensorType, float32
from graphc.verifier import verify_graph


def chain() -> Graph:
    return parse(
        "graph @chain(%x: f32[batch,3]) {\n  %a: f32[batch,3] = Neg(%x)\n  %b: f32[batch,3] = Add(%a, %x)\n"
        "  %c: f32[batch,3] = Mul(%b, %b)\n  return %c\n}"
    )


def test_a_sound_graph_passes() -> None:
    verify_graph(chain())


def test_a_lie_is_pointed_at(golden: Callable[[str], None]) -> None:
    graph = chain()
    graph.nodes[1].outputs[0].type = TensorType(float32, (7, 3))
    with pytest.raises(InvalidModel) as caught:
        verify_graph(graph)
    golden(str(caught.value))
