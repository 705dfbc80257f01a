"""Ensembles of decision trees."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import ml_trees as op
from graphc.types import Tensor

NAN = float("nan")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")
X = np.array([[1, 5], [3, 0], [3, 9], [0, 0], [2, 4], [2.5, 1]], np.float32)
MISSING = np.array([[NAN, 5], [3, NAN], [NAN, NAN]], np.float32)


def table(modes=("LEQ", "LEQ", "LEQ"), missing=None, values=(2.0, 4.0, 1.0)):
    """Two trees: (x0 ? values[0]: leaf 1, else (x1 ? values[1]: 3, else 4)), (x1 ? values[2]: 1, else 2)."""
    a, b, c = (f"BRANCH_{m}" for m in modes)
    v, w, u = values
    return {
        "nodes_treeids": (0, 0, 0, 0, 0, 7, 7, 7),
        "nodes_nodeids": (0, 1, 2, 3, 4, 0, 1, 2),
        "nodes_featureids": (0, 0, 1, 0, 0, 1, 0, 0),
        "nodes_values": (v, 0.0, w, 0.0, 0.0, u, 0.0, 0.0),
        "nodes_modes": (a, "LEAF", b, "LEAF", "LEAF", c, "LEAF", "LEAF"),
        "nodes_truenodeids": (1, 0, 3, 0, 0, 1, 0, 0),
        "nodes_falsenodeids": (2, 0, 4, 0, 0, 2, 0, 0),
        "nodes_missing_value_tracks_true": missing,
    }


WEIGHTS, MIXED = (0.3, 0.4, 0.1, 0.2, 0.05), (0.3, -0.4, 0.1, -0.2, 0.05)


def every(n, weights=WEIGHTS):
    """Votes of each leaf for each of n targets, in no order: trees, nodes, targets, weights."""
    votes = [(tree, node, t, weight * (1 - t / 3)) for t in range(n)
             for tree, node, weight in zip((7, 0, 0, 0, 7), (2, 1, 4, 3, 1), weights, strict=True)]  # fmt: skip
    return dict(zip(("treeids", "nodeids", "ids", "weights"), map(tuple, zip(*votes, strict=True)), strict=True))


def regressor(id, n=2, x=X, weights=WEIGHTS, nodes=None, **attributes):
    votes = {f"target_{k}": v for k, v in every(n, weights).items()}
    attributes = {"n_targets": n, **votes, **(nodes or table()), **attributes}
    return Case(op.TreeEnsembleRegressor(**attributes), [x], id=id, rtol=2e-5)


def classifier(id, n=3, x=X, weights=WEIGHTS, votes=None, oracle="onnxruntime", **attributes):
    given = every(n, weights) if votes is None else votes
    labels = {} if "classlabels_strings" in attributes else {"classlabels_int64s": tuple(range(5, 5 + n))}
    attributes = {**{f"class_{k}": v for k, v in given.items()}, **table(), **labels, **attributes}
    return Case(op.TreeEnsembleClassifier(**attributes), [x], oracle, id=id, rtol=2e-5)


def for_class(c, weights):
    """Votes for class c alone."""
    return {**every(1, weights), "ids": (c,) * 5}


def ensemble(id, x=X, n=2, modes=(0, 0, 0), oracle="onnxruntime", dtype=np.float32, members=None, **attributes):
    """The same two trees in the newer form."""
    return Case(
        op.TreeEnsemble(
            nodes_featureids=(0, 1, 1),
            nodes_splits=Tensor(np.array([2, 4, 1], dtype)),
            nodes_modes=Tensor(np.array(modes, np.uint8)),
            nodes_truenodeids=(0, 1, 3),
            nodes_trueleafs=(1, 1, 1),
            nodes_falsenodeids=(1, 2, 4),
            nodes_falseleafs=(0, 1, 1),
            tree_roots=(0, 2),
            leaf_targetids=(0, n - 1, 0, n - 1, 0),
            leaf_weights=Tensor(np.array(WEIGHTS, dtype)),
            n_targets=n,
            membership_values=None if members is None else Tensor(np.array(members, dtype)),
            **attributes,
        ),
        [x.astype(dtype)],
        oracle,
        id=id,
        rtol=2e-5 if dtype != np.float16 else 1e-3,
    )


def by_hand(x):
    """The sums of the two trees of `ensemble`, for two targets."""
    left, right = x[:, 0] <= 2, x[:, 1] <= 4
    low = x[:, 1] <= 1
    first = 0.3 * left + 0.1 * (~left & ~right) + 0.05 * ~low
    return np.stack([first, 0.4 * (~left & right) + 0.2 * low], 1).astype(x.dtype)


def stump(x):
    """One tree that is a leaf."""
    one = np.zeros(1, np.uint8)
    return op.TreeEnsemble((0,), Tensor(np.array([2.5], x.dtype)), (1,), (0,), (0,), Tensor(one),
                           Tensor(np.array([0], x.dtype)), (1,), (0,), (0,), n_targets=1)  # fmt: skip


CASES = [
    *(regressor(f"{aggregate}-{n}-{'mixed' if weights is MIXED else 'positive'}", n, weights=weights,
                aggregate_function=aggregate)
      for aggregate in op.AGGREGATES for n in (1, 3) for weights in (WEIGHTS, MIXED)),
    *(regressor(f"{transform}-{n}", n, post_transform=transform) for transform in TRANSFORMS for n in (1, 3)),
    regressor("PROBIT", 1, post_transform="PROBIT"),
    *(regressor(f"base-{n}", n, base_values=tuple(0.25 * k + 0.5 for k in range(n))) for n in (1, 3)),
    regressor("base-AVERAGE", 2, base_values=(0.5, -1.0), aggregate_function="AVERAGE"),
    *(regressor(f"{mode}-missing-{missing}", 2, np.concatenate([X, MISSING]),
                nodes=table((mode,) * 3, (missing,) * 8, (3.0, 0.0, 5.0)))
      for mode in MODES for missing in (0, 1)),
    regressor("mixed-modes", 2, nodes=table(("GT", "EQ", "LT"))),
    regressor("float64", 2, X.astype(np.float64)),
    regressor("random", 3, random(40, 3, low=-1, high=6)),
    *(Case(op.TreeEnsembleRegressor(**table(), target_treeids=(0, 7), target_nodeids=(1, 2), target_ids=(0, 1),
                                    target_weights=(1.0, 2.0)), [X.astype(dtype)],
           id=f"silent-leaves-{np.dtype(dtype)}",
           oracle=lambda x: np.stack([x[:, 0] <= 2, 2 * (x[:, 1] > 1)], 1).astype(np.float32))
      for dtype in (np.float32, np.int32, np.int64)),
    regressor("tensors", 2, X.astype(np.float64), target_weights=None, nodes={**table(), "nodes_values": None},
              nodes_values_as_tensor=Tensor(np.array([2, 0, 4, 0, 0, 1, 0, 0.0])),
              target_weights_as_tensor=Tensor(np.array(every(2)["weights"]))),
    Case(regressor("", 2).op, [X[:0]], lambda x: np.zeros((0, 2), np.float32), id="no-rows"),

    *(classifier(f"3-{transform}", post_transform=transform) for transform in TRANSFORMS),
    classifier("3-strings", classlabels_strings=("a", "b", "c")),
    classifier("3-base", base_values=(0.25, 0.5, 0.125)),
    *(classifier(np.dtype(dtype).name, x=X.astype(dtype)) for dtype in (np.float64, np.int64, np.int32)),
    *(classifier(f"2-{name}-class-{c}-{transform}", 2, votes=for_class(c, weights), post_transform=transform)
      for name, weights in (("positive", WEIGHTS), ("mixed", MIXED)) for c in (0, 1) for transform in TRANSFORMS),
    *(classifier(f"2-{name}-base", 2, votes=for_class(0, weights), base_values=(0.5,), classlabels_strings=("a", "b"))
      for name, weights in (("positive", WEIGHTS), ("mixed", MIXED))),
    # ONNX Runtime gives labels that are not the classes' where both of two classes have votes.
    classifier("2-both", 2, votes={**every(2), "weights": WEIGHTS + MIXED[::-1]}, oracle="reference"),
    *(classifier(f"1-{name}", 1, weights=weights) for name, weights in (("positive", WEIGHTS), ("mixed", MIXED))),

    *(ensemble(f"{aggregate}-{transform}", aggregate_function=aggregate, post_transform=transform)
      for aggregate, transform in [(0, 0), (1, 0), (2, 0), (3, 0), (1, 3)]),
    # ONNX Runtime takes 1 for LOGISTIC and 2 for SOFTMAX.
    ensemble("SOFTMAX", post_transform=1, oracle=lambda x: (e := np.exp(by_hand(x))) / e.sum(1, keepdims=True)),
    ensemble("LOGISTIC", post_transform=2, oracle=lambda x: 1 / (1 + np.exp(-by_hand(x)))),
    *(ensemble(f"modes-{a}{b}{c}", np.concatenate([X, MISSING]), modes=(a, b, c),
               nodes_missing_value_tracks_true=(1, 0, 1))
      for a, b, c in [(0, 1, 2), (3, 4, 5)]),
    *(ensemble(f"members-{missing}", np.concatenate([X, MISSING]), modes=(6, 0, 6), oracle="reference",
               members=(3, 1, NAN, 9, 1, 5, NAN), nodes_missing_value_tracks_true=(missing, 0, missing))
      for missing in (0, 1)),
    ensemble("one-target", n=1),
    ensemble("float64", dtype=np.float64),
    ensemble("float16", dtype=np.float16, oracle="reference"),
    Case(stump(X), [X], "reference", id="leaf"),
]  # fmt: skip
