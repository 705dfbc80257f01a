"""A forest of decision trees as arrays, walked for all rows and trees at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import ExecutionError, InvalidModel
from graphc.frozen import Frozen
from graphc.limits import check_deadline, check_tensor
from graphc.ops.base import Array
from graphc.ops.ml_encoding import last_positions

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_COMPARE = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
_MEMBER = 6


class Forest(Frozen, eq=False):
    """Trees whose nodes are numbered through, and whose leaves vote for targets.

    Attributes:
        roots: node of each tree; here as in `true` and `false`, a leaf is written as ~leaf, which is negative.
        features, splits, modes: of each node: which feature is compared with what, and how (a number of `MODES`).
        true, false: where to go on.
        missing: whether a NaN goes the true way, whatever the comparison says.
        members: for nodes of BRANCH_MEMBER, the pairs (node, value).
        first: for each leaf, its first vote; those up to that of the next leaf are its own.
        targets, weights: of each vote.
    """

    roots: Array
    features: Array
    splits: Array
    modes: Array
    true: Array
    false: Array
    missing: Array
    members: tuple[Array, Array]
    first: Array
    targets: Array
    weights: Array

    def __post_init__(self) -> None:
        nodes, leaves = len(self.features), len(self.first) - 1
        for name in ("splits", "modes", "true", "false", "missing"):
            if len(getattr(self, name)) != nodes:
                raise InvalidModel(f"there are {nodes} features and {len(getattr(self, name))} {name} of nodes")
        for name, found, low, high in (
            ("feature", self.features, 0, 1 << 62),
            ("mode", self.modes, 0, len(MODES)),
            *(("child", children, -leaves, nodes) for children in (self.true, self.false)),
            ("root", self.roots, -leaves, nodes),
        ):
            wrong = (found < low) | (found >= high)
            if np.any(wrong):
                raise InvalidModel(f"the {name} {found[wrong][0]} of a tree does not exist")
        if len(self.targets) != len(self.weights) or np.any(self.targets < 0):
            raise InvalidModel("the targets of leaves do not fit their weights")

    @property
    def width(self) -> int:
        """The number of features that are read."""
        return int(self.features.max(initial=-1)) + 1

    def leaves(self, x: Array) -> Array:
        """The leaf of each row of x (N, F) in each tree: (N, trees)."""
        if self.width > x.shape[1]:
            raise ExecutionError(f"the trees read {self.width} features, x has {x.shape[1]}")
        trees = len(self.roots)
        check_tensor((len(x), trees), 8 * 4, "leaves")
        at = np.tile(self.roots, len(x))
        active = np.flatnonzero(at >= 0)
        for _ in range(len(self.features) + 1):
            if not len(active):
                return ~at.reshape(len(x), trees)
            check_deadline()
            node = at[active]
            value = x[active // trees, self.features[node]]
            at[active] = np.where(self._holds(node, value), self.true[node], self.false[node])
            active = active[at[active] >= 0]
        raise ExecutionError("a tree goes in a circle")

    def _holds(self, node: Array, value: Array) -> Array:
        """Whether the comparison of each node holds for the value."""
        modes, split = self.modes[node], self.splits[node]
        result = np.isnan(value) & self.missing[node]
        for mode in np.unique(modes):
            same = modes == mode
            if mode == _MEMBER:
                result[same] |= self._is_member(node[same], value[same])
            else:
                result[same] |= _COMPARE[mode](value[same], split[same])
        return result

    def _is_member(self, node: Array, value: Array) -> Array:
        nodes, values = self.members
        distinct = np.unique(values)
        at = last_positions(value, distinct)
        pairs = nodes * len(distinct) + last_positions(values, distinct)
        return (at >= 0) & np.isin(node * len(distinct) + at, pairs)

    def scores(self, x: Array, targets: int, aggregate: str = "SUM") -> Array:
        """The votes of the leaves of each row, summed up (or AVERAGE, MIN, MAX) for each target: (N, targets).

        AVERAGE is over the trees. A target without a vote has 0.
        """
        if self.targets.max(initial=-1) >= targets:
            raise ExecutionError(f"a leaf votes for target {self.targets.max()}, there are {targets}")
        leaves = self.leaves(x)
        counts = (self.first[leaves + 1] - self.first[leaves]).reshape(-1)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        check_tensor((total,), 8 * 4, "votes")
        within = np.arange(total) - np.repeat(ends - counts, counts)
        vote = np.repeat(self.first[leaves].reshape(-1), counts) + within
        row = np.repeat(np.repeat(np.arange(len(x)), leaves.shape[1]), counts)
        cell, weight = row * targets + self.targets[vote], self.weights[vote].astype(np.float64)
        size = len(x) * targets
        if aggregate in ("SUM", "AVERAGE"):
            result = np.bincount(cell, weight, size)
            return (result / max(leaves.shape[1], 1) if aggregate == "AVERAGE" else result).reshape(len(x), targets)
        extreme, start = (np.minimum, np.inf) if aggregate == "MIN" else (np.maximum, -np.inf)
        result = np.full(size, start)
        extreme.at(result, cell, weight)
        return np.where(np.bincount(cell, minlength=size) > 0, result, 0).reshape(len(x), targets)


def set_members(modes: Sequence[int] | Array, values: Array) -> tuple[Array, Array]:
    """`Forest.members` from the sets of all BRANCH_MEMBER nodes in the order of nodes, each ended by a NaN."""
    nodes = np.flatnonzero(np.asarray(modes) == _MEMBER)
    ends = np.isnan(values)
    if int(ends.sum()) != len(nodes) or (len(values) and not ends[-1]):
        raise InvalidModel(f"membership_values has {int(ends.sum())} sets, {len(nodes)} nodes are BRANCH_MEMBER")
    owner = np.cumsum(ends) - ends
    return nodes[owner[~ends]], values[~ends]
