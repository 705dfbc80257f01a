"""Constants whose contents are not there yet: weights in files, products of weights."""

from __future__ import annotations

from graphc.ir import Graph
from graphc.ops.base import Constant
from graphc.parallel import side_by_side
from graphc.passes.bodies import all_nodes


def read_constants(graph: Graph) -> None:
    """All are read or computed now, in several threads: who needs them one after the other would take longer."""
    tensors = {id(n.op.value): n.op.value for n in all_nodes(graph) if isinstance(n.op, Constant)}
    side_by_side(lambda t: t.array, [t for t in tensors.values() if not t.is_read])
