"""Tree ensembles of ai.onnx.ml: three ways to write a `Forest`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphc.dims import Dim
from graphc.errors import InvalidModel, ShapeError
from graphc.ir import Cost, Op, traffic
from graphc.ops.base import Array, Tensor, TensorType, Value, check_dtype
from graphc.ops.ml_encoding import DOMAIN
from graphc.ops.ml_forest import MODES, Forest, set_members
from graphc.ops.ml_scores import TRANSFORMS, Classifier, check_choice, in_floats, rows_of, transformed, two_columns
from graphc.types import float16, float32, float64

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
Ints = tuple[int, ...]


class TreeOp(Op):
    """An op that walks a forest. A subclass defines `forest`."""

    domain = DOMAIN

    @cached_property
    def forest(self) -> Forest:
        raise NotImplementedError

    def check_features(self, x: Value) -> None:
        """Raise unless x has the features that the trees read."""
        if x.shape is not None and isinstance(x.shape[-1], int) and x.shape[-1] < self.forest.width:
            raise ShapeError(f"the trees read {self.forest.width} features, x is {x.tensor}")

    def grad(self, dy: Any, y: Any, x: Value) -> Sequence[Value | None]:
        return [None]  # the slope of steps

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """A balanced tree takes a comparison for each level, and then a vote for each target."""
        forest, rows = self.forest, ys[0].shape
        trees = max(len(forest.roots), 1)
        depth = int(np.log2(1 + len(forest.features) / trees)) + 1
        n: Dim = rows[0] if rows else 0
        return Cost(n * trees * (depth + 1), traffic(xs, ys))


class TreeEnsemble(TreeOp):
    """y[n, t] = the aggregate over trees of the weights of n's leaves for target t. ONNX ai.onnx.ml TreeEnsemble-5.

    x is (N, F), y is (N, n_targets). Attributes named nodes_* have an entry for each inner node, leaf_* for each leaf.

    Attributes:
        aggregate_function: 0 AVERAGE over the trees, 1 SUM, 2 MIN, 3 MAX.
        membership_values: for each node with mode 6 in order, its set, ended by a NaN.
        nodes_modes: 0 ≤, 1 <, 2 ≥, 3 >, 4 =, 5 ≠ the split, 6 in the set.
        nodes_missing_value_tracks_true: whether a NaN goes the true way, whatever the comparison says.
        post_transform: 0 NONE, 1 SOFTMAX, 2 LOGISTIC, 3 SOFTMAX_ZERO, 4 PROBIT.
    """

    leaf_targetids: Ints
    leaf_weights: Tensor
    nodes_falseleafs: Ints
    nodes_falsenodeids: Ints
    nodes_featureids: Ints
    nodes_modes: Tensor
    nodes_splits: Tensor
    nodes_trueleafs: Ints
    nodes_truenodeids: Ints
    tree_roots: Ints
    aggregate_function: int = 1
    membership_values: Tensor | None = None
    n_targets: int | None = None
    nodes_hitrates: Tensor | None = None
    nodes_missing_value_tracks_true: Ints | None = None
    post_transform: int = 0

    @cached_property
    def forest(self) -> Forest:
        modes = self.nodes_modes.array.astype(np.int64)
        members = np.array([], np.float32) if self.membership_values is None else self.membership_values.array
        return Forest(
            roots=_ints(self.tree_roots),
            features=_ints(self.nodes_featureids),
            splits=self.nodes_splits.array,
            modes=modes,
            true=_children(self.nodes_truenodeids, self.nodes_trueleafs),
            false=_children(self.nodes_falsenodeids, self.nodes_falseleafs),
            missing=_flags(self.nodes_missing_value_tracks_true, len(modes)),
            members=set_members(modes, members),
            first=np.arange(len(self.leaf_targetids) + 1),
            targets=_ints(self.leaf_targetids),
            weights=self.leaf_weights.array,
        )

    @property
    def _targets(self) -> int:
        return self.n_targets if self.n_targets is not None else max(self.leaf_targetids, default=-1) + 1

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, {float16, float32, float64}, "x")
        for name in ("nodes_splits", "leaf_weights", "membership_values"):
            tensor = getattr(self, name)
            if tensor is not None and (tensor.dtype is not x.dtype or len(tensor.shape) != 1):
                raise InvalidModel(f"{name} is {tensor.type}, expected a vector of the type of x, {x.tensor}")
        check_choice("aggregate_function", self.aggregate_function, range(len(AGGREGATES)))
        check_choice("post_transform", self.post_transform, range(len(TRANSFORMS)))
        if max(self.leaf_targetids, default=-1) >= self._targets:
            raise InvalidModel(f"a leaf votes for target {max(self.leaf_targetids)}, there are {self._targets}")
        self.check_features(x)
        return TensorType(x.dtype, (rows_of(x, 2, (float16, float32, float64)), self._targets))

    def eval(self, x: Array) -> Array:
        scores = self.forest.scores(x, self._targets, AGGREGATES[self.aggregate_function])
        return transformed(scores, TRANSFORMS[self.post_transform]).astype(x.dtype)


# -- the older form: nodes with ids, leaves among them ----------------------------------------------------------------
class NodeTable(TreeOp):
    """The attributes nodes_* of older ensembles: one entry for each node, leaves included."""

    nodes_falsenodeids: Ints | None = None
    nodes_featureids: Ints | None = None
    nodes_hitrates: tuple[float, ...] | None = None
    nodes_hitrates_as_tensor: Tensor | None = None
    nodes_missing_value_tracks_true: Ints | None = None
    nodes_modes: tuple[str, ...] | None = None
    nodes_nodeids: Ints | None = None
    nodes_treeids: Ints | None = None
    nodes_truenodeids: Ints | None = None
    nodes_values: tuple[float, ...] | None = None
    nodes_values_as_tensor: Tensor | None = None

    def votes(self) -> tuple[Array, Array, Array, Array]:
        """For each vote: the ids of its tree and node, its target, its weight."""
        raise NotImplementedError

    @cached_property
    def forest(self) -> Forest:
        trees, ids = _ints(self.nodes_treeids), _ints(self.nodes_nodeids)
        names = np.array(self.nodes_modes or (), object)
        is_leaf = names == "LEAF"
        unknown = set(names[~is_leaf]) - set(MODES[:6])
        if unknown:
            raise InvalidModel(f"nodes_modes has {', '.join(sorted(unknown))}, expected {', '.join(MODES[:6])} or LEAF")
        if not len(trees) == len(ids) == len(names):
            raise InvalidModel(
                f"there are {len(trees)} nodes_treeids, {len(ids)} nodes_nodeids, {len(names)} nodes_modes"
            )
        find = _Finder(trees, ids)
        own = np.where(is_leaf, ~np.arange(len(ids)), np.arange(len(ids)))

        def child(found: Ints | None) -> Array:
            to = _ints(found)
            if len(to) != len(ids):
                raise InvalidModel(f"there are {len(ids)} nodes and {len(to)} of their children")
            return np.where(is_leaf, 0, own[find(trees, np.where(is_leaf, ids, to))])

        vote_trees, vote_nodes, targets, weights = self.votes()
        if len({len(vote_trees), len(vote_nodes), len(targets), len(weights)}) > 1:
            raise InvalidModel("the attributes of the leaves' votes differ in length")
        voter = find(vote_trees, vote_nodes)
        order = np.argsort(voter, kind="stable")
        modes = np.array([MODES.index(m) if m != "LEAF" else 0 for m in names], np.int64)
        return Forest(
            roots=own[np.sort(np.unique(trees, return_index=True)[1])],
            features=np.where(is_leaf, 0, _ints(self.nodes_featureids)),
            splits=_floats("nodes_values", self.nodes_values, self.nodes_values_as_tensor),
            modes=modes,
            true=child(self.nodes_truenodeids),
            false=child(self.nodes_falsenodeids),
            missing=_flags(self.nodes_missing_value_tracks_true, len(ids)),
            members=set_members(modes, np.array([])),
            first=np.searchsorted(voter[order], np.arange(len(ids) + 1)),
            targets=targets[order],
            weights=weights[order],
        )


class _Finder:
    """Numbers of nodes by the ids of tree and node."""

    def __init__(self, trees: Array, nodes: Array):
        self._distinct, self._span = np.unique(trees), int(nodes.max(initial=0)) + 1
        keys = self._keys(trees, nodes)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        if np.any(self._sorted[1:] == self._sorted[:-1]):
            raise InvalidModel("two nodes of a tree have the same id")

    def __call__(self, trees: Array, nodes: Array) -> Array:
        if len(trees) != len(nodes):
            raise InvalidModel(f"{len(trees)} trees and {len(nodes)} nodes are named together")
        keys = self._keys(trees, nodes)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        if len(keys) and (not len(self._sorted) or np.any(self._sorted[at] != keys)):
            raise InvalidModel("a node that is named as a child or a leaf does not exist")
        return self._order[at]

    def _keys(self, trees: Array, nodes: Array) -> Array:
        if np.any((nodes < 0) | (nodes >= self._span)) or not np.isin(trees, self._distinct).all():
            raise InvalidModel("a node that is named as a child or a leaf does not exist")
        return np.searchsorted(self._distinct, trees) * self._span + nodes


class TreeEnsembleRegressor(NodeTable):
    """y[n, t] = base_values[t] + the aggregate over trees of the weights of n's leaves for target t, as float32.

    x is (N, F), y is (N, n_targets). ONNX ai.onnx.ml TreeEnsembleRegressor-3. ONNX Runtime leaves out the base value of
    a target that has no vote.
    """

    aggregate_function: str = "SUM"
    base_values: tuple[float, ...] | None = None
    base_values_as_tensor: Tensor | None = None
    n_targets: int | None = None
    post_transform: str = "NONE"
    target_ids: Ints | None = None
    target_nodeids: Ints | None = None
    target_treeids: Ints | None = None
    target_weights: tuple[float, ...] | None = None
    target_weights_as_tensor: Tensor | None = None

    def votes(self) -> tuple[Array, Array, Array, Array]:
        weights = _floats("target_weights", self.target_weights, self.target_weights_as_tensor)
        return _ints(self.target_treeids), _ints(self.target_nodeids), _ints(self.target_ids), weights

    @property
    def _targets(self) -> int:
        return self.n_targets if self.n_targets is not None else max(self.target_ids or (), default=-1) + 1

    def infer(self, x: Value) -> TensorType:
        rows = rows_of(x, 2)
        check_choice("aggregate_function", self.aggregate_function, AGGREGATES)
        check_choice("post_transform", self.post_transform, TRANSFORMS)
        self.check_features(x)
        base = _floats("base_values", self.base_values, self.base_values_as_tensor)
        if len(base) not in (0, self._targets) or max(self.target_ids or (), default=-1) >= self._targets:
            raise InvalidModel(f"base_values or target_ids do not fit {self._targets} targets")
        return TensorType(float32, (rows, self._targets))

    def eval(self, x: Array) -> Array:
        scores = self.forest.scores(in_floats(x), self._targets, self.aggregate_function)
        base = _floats("base_values", self.base_values, self.base_values_as_tensor)
        scores = (scores + base if len(base) else scores).astype(np.float32)
        return transformed(scores, self.post_transform)


class TreeEnsembleClassifier(NodeTable, Classifier):
    """The label of the highest score, and the scores: base_values[e] + the sum of the weights of leaves for class e.

    x is (N, F), the labels are (N), the scores (N, E) as float32. ONNX ai.onnx.ml TreeEnsembleClassifier-3.

    With two classes and votes for one alone, its score s decides by itself: above 0.5 where no weight is negative (the
    scores are then 1 − s and s), else above 0 (−s and s); votes for the second class leave the first at its base value.
    With a single class, the label is 1 where its score is above 0, else 0.
    """

    base_values: tuple[float, ...] | None = None
    base_values_as_tensor: Tensor | None = None
    class_ids: Ints | None = None
    class_nodeids: Ints | None = None
    class_treeids: Ints | None = None
    class_weights: tuple[float, ...] | None = None
    class_weights_as_tensor: Tensor | None = None
    classlabels_int64s: Ints | None = None
    classlabels_strings: tuple[str, ...] | None = None
    post_transform: str = "NONE"

    def votes(self) -> tuple[Array, Array, Array, Array]:
        weights = _floats("class_weights", self.class_weights, self.class_weights_as_tensor)
        return _ints(self.class_treeids), _ints(self.class_nodeids), _ints(self.class_ids), weights

    def infer(self, x: Value) -> tuple[TensorType, TensorType]:
        rows = rows_of(x, 2)
        check_choice("post_transform", self.post_transform, TRANSFORMS)
        self.check_features(x)
        labels, base = self.labels(), self._base
        if len(labels) == 1 and labels.dtype == object:
            raise InvalidModel(f"there is one class, {labels[0]!r}, and no label for what is not in it")
        expected = 1 if self._voted == {0} and len(labels) == 2 else len(labels)
        if len(base) not in (0, expected):
            raise InvalidModel(f"base_values has {len(base)} entries, expected {expected}")
        if max(self._voted, default=-1) >= len(labels):
            raise InvalidModel(f"a leaf votes for class {max(self._voted)}, there are {len(labels)}")
        return self.types(rows, len(labels), float32)

    def eval(self, x: Array) -> tuple[Array, Array]:
        labels = self.labels()
        scores = self.forest.scores(in_floats(x), len(labels))
        scores[:, : len(self._base)] += self._base
        scores = scores.astype(np.float32)
        if len(labels) == 1:
            return (scores[:, 0] > 0).astype(np.int64), transformed(scores, self.post_transform)
        if len(labels) > 2 or len(self._voted) != 1:
            return labels[scores.argmax(1)], transformed(scores, self.post_transform)
        (only,) = self._voted
        probability = bool(np.all(self.forest.weights >= 0))
        chosen = labels[(scores[:, only] > (0.5 if probability else 0)).astype(np.int64)]
        if only == 1:
            return chosen, transformed(scores, self.post_transform)
        return chosen, two_columns(scores[:, 0], self.post_transform, probability=probability)

    @property
    def _base(self) -> Array:
        return _floats("base_values", self.base_values, self.base_values_as_tensor)

    @property
    def _voted(self) -> set[int]:
        return set(self.class_ids or ())


def _ints(values: Ints | None) -> Array:
    return np.array(values or (), np.int64)


def _flags(values: Ints | None, length: int) -> Array:
    return np.array(values, bool) if values else np.zeros(length, bool)


def _children(ids: Ints, leaves: Ints) -> Array:
    if len(ids) != len(leaves):
        raise InvalidModel(f"{len(ids)} children are named, for {len(leaves)} it is said whether they are leaves")
    return np.where(np.array(leaves, bool), ~_ints(ids), _ints(ids))


def _floats(what: str, values: tuple[float, ...] | None, tensor: Tensor | None) -> Array:
    """The numbers of an attribute that may be a list of float32 or a tensor; none where neither is there."""
    if values and tensor is not None:
        raise InvalidModel(f"{what} and {what}_as_tensor are both there")
    return np.array(values or (), np.float32) if tensor is None else tensor.array.reshape(-1)
