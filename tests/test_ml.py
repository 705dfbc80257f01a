"""ai.onnx.ml and optimisers beyond single rows: what they refuse, and a forest of random trees."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import ml_trees as trees
from conformance import Case
from onnx import AttributeProto

from graphc.errors import ExecutionError, InvalidModel
from graphc.frontends.onnx.attributes import op_to_attributes
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.ops import ml_encoding, ml_features, ml_linear, ml_maps, ml_svm, ml_trees, optimizer
from graphc.ops.tokenizer import Tokenizer
from graphc.types import MapType, TensorType, float32, float64, int64, string

ROWS, VECTOR = TensorType(float32, (4, 3)), TensorType(float32, (3,))
SCALAR, COUNT, NAMES = TensorType(float32, ()), TensorType(int64, ()), TensorType(string, (2,))
NUMBERS = MapType(int64, float32)
MOMENTUM = optimizer.Momentum(0.9, 0.1, "standard", 0.0)
FOREST = trees.regressor("").op


def call(op, *types):
    return op(*(Value(t, name=f"x{i}") for i, t in enumerate(types)))


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (optimizer.Adam(), [SCALAR, COUNT, ROWS, ROWS, ROWS], "3 tensors follow R and T, expected 4 for each"),
        (MOMENTUM, [SCALAR, COUNT, ROWS, VECTOR, ROWS], r"differ in shape: f32\[4,3\], f32\[3\], f32\[4,3\]"),
        (MOMENTUM, [VECTOR, COUNT, ROWS, ROWS, ROWS], r"R is f32\[3\], expected one element"),
        (dataclasses.replace(MOMENTUM, mode="none"), [SCALAR, COUNT, ROWS, ROWS, ROWS], "mode is 'none'"),
        (ml_encoding.LabelEncoder(keys_int64s=(1,)), [COUNT], "0 attributes give values"),
        (ml_encoding.LabelEncoder(keys_int64s=(1, 2), values_floats=(1.0,)), [COUNT], "2 keys and 1 values"),
        (ml_encoding.LabelEncoder(keys_int64s=(1,), values_floats=(1.0,)), [NAMES], r"x is str\[2\], expected"),
        (ml_encoding.CategoryMapper((1,)), [COUNT], "cats_strings is missing"),
        (ml_encoding.OneHotEncoder((1,), ("a",)), [COUNT], "expected one of cats_int64s and cats_strings"),
        (ml_features.Scaler((1.0, 2.0)), [ROWS], "offset has 2 entries, expected 1 or 3"),
        (ml_features.Imputer(imputed_value_int64s=(1,)), [ROWS], "imputed_value_floats is missing"),
        (ml_features.Normalizer("L3"), [ROWS], "norm is 'L3'"),
        (ml_features.FeatureVectorizer((1,)), [ROWS, ROWS], "expected a size for each of 2 inputs"),
        (ml_linear.LinearRegressor((1.0, 2.0)), [ROWS], "2 coefficients, expected 1 for each feature"),
        (ml_linear.LinearClassifier((1.0,) * 6), [ROWS], "expected one of the attributes classlabels"),
        (ml_linear.LinearClassifier((1.0,) * 6, (1, 2), post_transform="TANH"), [ROWS], "post_transform is 'TANH'"),
        (ml_svm.SVMRegressor((1.0,), kernel_type="RBF", support_vectors=(1.0,) * 3, n_supports=1), [ROWS],
         "kernel_params is None"),
        (ml_svm.SVMClassifier((1.0,), classlabels_ints=(1, 2), support_vectors=(1.0,) * 6, vectors_per_class=(1, 1)),
         [ROWS], "coefficients has 1 entries, expected 2"),
        (ml_maps.ZipMap(), [ROWS], r"expected one of classlabels_\*"),
        (ml_maps.ZipMap((1, 2), ("a", "b")), [ROWS], r"expected one of classlabels_\*"),
        (ml_maps.ZipMap((1, 2)), [ROWS], r"2 labels for the 3 columns of f32\[4,3\]"),
        (ml_maps.DictVectorizer((1,)), [ROWS], r"x is f32\[4,3\], expected a map"),
        (ml_maps.DictVectorizer((1,)), [MapType(string, float32)], r"x is map\(str,f32\), expected a map from int64"),
        (ml_maps.DictVectorizer((1,)), [MapType(int64, int64)], r"from int64 to one of f32, f64, str"),
        (ml_maps.CastMap(), [MapType(string, float32)], r"x is map\(str,f32\), expected a map from int64 to"),
        (ml_maps.CastMap("TO_INT"), [NUMBERS], "cast_to is 'TO_INT'"),
        (ml_maps.CastMap(map_form="THIN"), [NUMBERS], "map_form is 'THIN'"),
        (ml_maps.CastMap(map_form="SPARSE", max_map=0), [NUMBERS], "max_map is 0"),
        (Tokenizer(0, "", False, (" ",)), [NAMES], "mincharnum is 0, expected 1 or more"),
        (Tokenizer(2, "", False, tokenexp="."), [NAMES], "mincharnum is 2, expected 1$"),
        (Tokenizer(1, "", False, ()), [NAMES], "expected separators or tokenexp"),
        (Tokenizer(1, "", False, ("", "a")), [NAMES], "one of several separators is empty"),
        (Tokenizer(1, "", False, tokenexp="("), [NAMES], "not a regular expression of RE2: '\\('"),
        (FOREST, [TensorType(float32, (4, 1))], r"read 2 features, x is f32\[4,1\]"),
        (dataclasses.replace(FOREST, nodes_truenodeids=(9, 0, 3, 0, 0, 1, 0, 0)), [ROWS], "named as a child"),
        (dataclasses.replace(FOREST, nodes_nodeids=(0, 1, 2, 3, 3, 0, 1, 2)), [ROWS], "two nodes of a tree"),
        (dataclasses.replace(FOREST, nodes_modes=("MANY",) * 8), [ROWS], "nodes_modes has MANY"),
        (dataclasses.replace(FOREST, n_targets=1), [ROWS], "do not fit 1 targets"),
        (trees.ensemble("").op, [TensorType(float64, (4, 3))], "nodes_splits is .* expected a vector of the type of x"),
        (trees.ensemble("", modes=(6, 0, 0)).op, [ROWS], "0 sets, 1 nodes are BRANCH_MEMBER"),
        (dataclasses.replace(trees.ensemble("").op, tree_roots=(3,)), [ROWS], "the root 3 of a tree does not exist"),
    ],
)  # fmt: skip
def test_refused(op, types, message):
    with pytest.raises(InvalidModel, match=message):
        call(op, *types)


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (ml_features.ArrayFeatureExtractor(), [np.zeros((2, 3), np.float32), np.array([3])], r"3 is out of range"),
        (ml_encoding.OneHotEncoder((1,), zeros=False), [np.array([1, 7])], "7 is in no category"),
        (dataclasses.replace(trees.ensemble("").op, nodes_falsenodeids=(0, 2, 4), nodes_falseleafs=(0, 1, 1)),
         [np.array([[5, 0]], np.float32)], "goes in a circle"),
    ],
    ids=["index", "category", "circle"],
)  # fmt: skip
def test_refused_at_run_time(op, inputs, message):
    graph = Case(op, inputs).graph()
    with pytest.raises(ExecutionError, match=message):
        interpret(graph, inputs)


def test_features_that_are_only_known_at_run_time():
    x = Value(TensorType(float32, None), name="x")
    graph = Graph([x], [FOREST(x)])
    with pytest.raises(ExecutionError, match="read 2 features, x has 1"):
        interpret(graph, [np.zeros((4, 1), np.float32)])


def random_forest(count, depth, features, targets, seed=0):
    """A regressor of complete trees, its nodes and votes in random order but for the roots."""
    rng = np.random.default_rng(seed)
    inner, total = 2**depth - 1, 2 ** (depth + 1) - 1
    nodes, votes = [], []
    for tree in range(count):
        order = [0, *(1 + rng.permutation(total - 1))]
        for i in order:
            leaf = i >= inner
            way = ("LEAF", 0, 0) if leaf else ("BRANCH_LEQ", 2 * i + 1, 2 * i + 2)
            nodes.append((tree, i, int(rng.integers(features)), float(np.float32(rng.uniform(-1, 1))), *way))
            if leaf:
                votes += [(tree, i, t, float(np.float32(rng.uniform(-1, 1)))) for t in range(targets)]
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    columns = {f"nodes_{name}": tuple(map(_plain, c)) for name, c in zip(names, zip(*nodes, strict=True), strict=True)}
    shuffled = [votes[k] for k in rng.permutation(len(votes))]
    for name, c in zip(("treeids", "nodeids", "ids", "weights"), zip(*shuffled, strict=True), strict=True):
        columns[f"target_{name}"] = tuple(map(_plain, c))
    return ml_trees.TreeEnsembleRegressor(**columns, n_targets=targets)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_random_forest(aggregate):
    op = dataclasses.replace(random_forest(20, 5, 6, 3), aggregate_function=aggregate)
    x = np.random.default_rng(1).uniform(-1, 1, (50, 6)).astype(np.float32)
    case = Case(op, [x])
    np.testing.assert_allclose(interpret(case.graph(), [x])[0], case.expected()[0], rtol=1e-5, atol=1e-5)


def test_lists_keep_their_type():
    """An empty list of floats or strings is no list of integers, and whole numbers among floats stay floats."""
    op = ml_linear.LinearClassifier((1, 2.5), (), ("a",), ())
    kinds = {a.name: a.type for a in op_to_attributes(op)}
    assert kinds["coefficients"] == kinds["intercepts"] == AttributeProto.FLOATS
    assert kinds["classlabels_ints"] == AttributeProto.INTS
    assert kinds["classlabels_strings"] == AttributeProto.STRINGS
