"""Models exported from scikit-learn by skl2onnx: graphc against onnxruntime and scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import graphc

pytest.importorskip("sklearn", reason="scikit-learn makes the models: pip install scikit-learn skl2onnx")
skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx exports the models: pip install skl2onnx")

from skl2onnx.common.data_types import (  # noqa: E402
    DictionaryType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn import (  # noqa: E402
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.feature_extraction import text  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
BINARY = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(np.int64)
CLASSES = np.digitize(X[:, 0] + X[:, 1] * X[:, 2], [-0.5, 0.5])
NAMES = np.array(["cat", "dog", "emu"])[CLASSES]
REAL = (X[:, 0] - 2 * X[:, 1] + np.sin(X[:, 2])).astype(np.float32)
TARGETS = np.stack([REAL, X[:, 3] * 2], 1)
COUNTS = RNG.integers(0, 5, (60, 4)).astype(np.float32)
HOLES = np.where(RNG.random((60, 4)) < 0.2, np.float32(np.nan), X)
WORDS = RNG.choice(["red", "green", "blue"], (60, 2)).astype(object)
INTEGERS = RNG.integers(0, 4, (60, 2))
TEXTS = np.array([" ".join(RNG.choice(["the", "cat", "sat", "on", "a", "mat", "Dog"], 6)) for _ in range(30)], object)

FOREST = {"n_estimators": 5, "max_depth": 4, "random_state": 0}
CLASSIFIERS = {
    "logistic": lambda: linear_model.LogisticRegression(),
    "logistic_one_vs_rest": lambda: linear_model.LogisticRegressionCV(Cs=2),
    "sgd": lambda: linear_model.SGDClassifier(random_state=0),
    "perceptron": lambda: linear_model.Perceptron(),
    "ridge": lambda: linear_model.RidgeClassifier(),
    "decision_tree": lambda: tree.DecisionTreeClassifier(max_depth=4, random_state=0),
    "random_forest": lambda: ensemble.RandomForestClassifier(**FOREST),
    "extra_trees": lambda: ensemble.ExtraTreesClassifier(**FOREST),
    "gradient_boosting": lambda: ensemble.GradientBoostingClassifier(**FOREST),
    "ada_boost": lambda: ensemble.AdaBoostClassifier(n_estimators=3, random_state=0),
    "bagging": lambda: ensemble.BaggingClassifier(n_estimators=3, random_state=0),
    "voting": lambda: ensemble.VotingClassifier(
        [("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))],
        voting="soft",
        flatten_transform=False,
    ),
    "svc": lambda: svm.SVC(),
    "svc_probability": lambda: svm.SVC(probability=True, random_state=0),
    "svc_polynomial": lambda: svm.SVC(kernel="poly", degree=2, coef0=1.0),
    "linear_svc": lambda: svm.LinearSVC(),
    "nu_svc": lambda: svm.NuSVC(kernel="sigmoid", nu=0.2),
    "neighbors": lambda: neighbors.KNeighborsClassifier(3),
    "naive_bayes": lambda: naive_bayes.GaussianNB(),
    "bernoulli": lambda: naive_bayes.BernoulliNB(binarize=0.1),
    "perceptrons": lambda: neural_network.MLPClassifier((6,), max_iter=20, random_state=0),
    "pipeline": lambda: pipeline.make_pipeline(
        preprocessing.StandardScaler(), decomposition.PCA(3), linear_model.LogisticRegression()
    ),
}
REGRESSORS = {
    "linear": lambda: linear_model.LinearRegression(),
    "lasso": lambda: linear_model.Lasso(0.1),
    "bayesian_ridge": lambda: linear_model.BayesianRidge(),
    "decision_tree": lambda: tree.DecisionTreeRegressor(max_depth=4, random_state=0),
    "random_forest": lambda: ensemble.RandomForestRegressor(**FOREST),
    "gradient_boosting": lambda: ensemble.GradientBoostingRegressor(**FOREST),
    "svr": lambda: svm.SVR(),
    "svr_linear": lambda: svm.SVR(kernel="linear"),
    "svr_polynomial": lambda: svm.SVR(kernel="poly", coef0=0.5),
    "nu_svr": lambda: svm.NuSVR(),
    "linear_svr": lambda: svm.LinearSVR(random_state=0),
    "neighbors": lambda: neighbors.KNeighborsRegressor(3),
    "perceptrons": lambda: neural_network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=20, random_state=0),
    "gaussian_process": lambda: gaussian_process.GaussianProcessRegressor(alpha=0.1),
    "stacking": lambda: ensemble.StackingRegressor(
        [("a", linear_model.LinearRegression()), ("b", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]
    ),
}
# A transformer (or a cluster or outlier model), and what it is fitted to.
TRANSFORMERS: dict[str, tuple[Callable[[], object], np.ndarray]] = {
    "standard_scaler": (lambda: preprocessing.StandardScaler(), X),
    "min_max_scaler": (lambda: preprocessing.MinMaxScaler(clip=True), X),
    "max_abs_scaler": (lambda: preprocessing.MaxAbsScaler(), X),
    "robust_scaler": (lambda: preprocessing.RobustScaler(), X),
    "normalizer": (lambda: preprocessing.Normalizer("l1"), X),
    "binarizer": (lambda: preprocessing.Binarizer(threshold=0.3), X),
    "polynomial": (lambda: preprocessing.PolynomialFeatures(2), X),
    "power": (lambda: preprocessing.PowerTransformer(), X),
    "bins": (lambda: preprocessing.KBinsDiscretizer(3, encode="onehot-dense", strategy="kmeans"), X),
    "bins_ordinal": (lambda: preprocessing.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), X),
    "one_hot_words": (lambda: preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore"), WORDS),
    "one_hot_integers": (lambda: preprocessing.OneHotEncoder(sparse_output=False), INTEGERS),
    "ordinal_words": (lambda: preprocessing.OrdinalEncoder(), WORDS),
    "imputer": (lambda: impute.SimpleImputer(), HOLES),
    "neighbor_imputer": (lambda: impute.KNNImputer(n_neighbors=3), HOLES),
    "pca": (lambda: decomposition.PCA(2), X),
    "truncated_svd": (lambda: decomposition.TruncatedSVD(2, random_state=0), X),
    "select": (lambda: feature_selection.VarianceThreshold(0.9), X),
    "k_means": (lambda: cluster.KMeans(3, n_init=1, random_state=0), X),
    "mixture": (lambda: mixture.GaussianMixture(2, random_state=0), X),
    "isolation_forest": (lambda: ensemble.IsolationForest(n_estimators=5, random_state=0), X),
    "local_outliers": (lambda: neighbors.LocalOutlierFactor(5, novelty=True), X),
    "one_class": (lambda: svm.OneClassSVM(), X),
    "columns": (
        lambda: compose.ColumnTransformer(
            [("scale", preprocessing.StandardScaler(), [0, 2]), ("bins", preprocessing.KBinsDiscretizer(
                3, encode="ordinal", strategy="uniform"), [1])], remainder="passthrough"
        ),
        X,
    ),
}  # fmt: skip


KINDS = {
    np.float32: FloatTensorType, np.float64: DoubleTensorType, np.int64: Int64TensorType, np.object_: StringTensorType,
}  # fmt: skip


OPSETS = {"": 22, "ai.onnx.ml": 3}  # skl2onnx writes an isolation forest in no newer one


def export(model: object, x: np.ndarray, options: dict[str, object] | None = None) -> onnx.ModelProto:
    kind = KINDS[x.dtype.type]([None, *x.shape[1:]])
    by_model = {id(model): options} if options else None
    return skl2onnx.convert_sklearn(model, initial_types=[("x", kind)], options=by_model, target_opset=OPSETS)


def check(model: object, x: np.ndarray, options: dict[str, object] | None = None) -> list[np.ndarray]:
    """onnxruntime and graphc, without and with passes, agree on two batches; what onnxruntime says for all rows."""
    proto = export(model, x, options)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    compiled = [graphc.compile(proto, level=level) for level in (0, 2)]
    for rows in (x[:7], x):
        wants = session.run(None, {"x": rows})
        for level, c in zip((0, 2), compiled, strict=True):
            got = c(rows)
            for port, g, want in zip(c.outputs, got if isinstance(got, tuple) else (got,), wants, strict=True):
                close(g, want, f"{port.name} at level {level}")
    return wants


def close(got: Any, want: Any, names: str, rtol: float = 1e-4) -> None:
    if isinstance(want, list):
        assert [[*map(repr, m)] for m in got] == [[*map(repr, m)] for m in want], names
        got, want = (np.array([[*m.values()] for m in maps], np.float32) for maps in (got, want))
    assert got.shape == want.shape, names
    if want.dtype.kind not in "fiub":
        np.testing.assert_array_equal(got, want, err_msg=names)
        return
    assert got.dtype == want.dtype, names
    scale = np.abs(want[np.isfinite(want)]).max(initial=1)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=0.1 * rtol * scale, err_msg=names)


@pytest.fixture(autouse=True)
def quiet():
    """Few iterations do not converge, and that is fine here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("y", [BINARY, CLASSES, NAMES], ids=["binary", "classes", "names"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name: str, y: np.ndarray) -> None:
    model = CLASSIFIERS[name]().fit(X, y)
    labels, *_ = check(model, X, None if name == "linear_svc" else {"zipmap": False})
    np.testing.assert_array_equal(labels, model.predict(X))


@pytest.mark.parametrize("model", [naive_bayes.MultinomialNB(), naive_bayes.ComplementNB()], ids=repr)
def test_counts(model) -> None:
    labels, *_ = check(model.fit(COUNTS, CLASSES), COUNTS, {"zipmap": False})
    np.testing.assert_array_equal(labels, model.predict(COUNTS))


@pytest.mark.parametrize("y", [CLASSES, NAMES], ids=["classes", "names"])
@pytest.mark.parametrize("name", ["logistic", "random_forest", "svc_probability"])
def test_probabilities_as_maps(name: str, y: np.ndarray) -> None:
    """skl2onnx's default: a list of dictionaries from class to probability."""
    model = CLASSIFIERS[name]().fit(X, y)
    labels, maps = check(model, X)
    np.testing.assert_array_equal(labels, model.predict(X))
    got = np.array([[m[c] for c in model.classes_] for m in maps], np.float32)
    close(got, model.predict_proba(X).astype(np.float32), "onnxruntime and scikit-learn", 1e-3)


@pytest.mark.parametrize("kind", [FloatTensorType, DoubleTensorType])
def test_dictionaries(kind: type) -> None:
    """A vectoriser of dictionaries, before a model."""
    rows = [{"a": float(x), "b": float(y)} for x, y in X[:, :2]]
    model = feature_extraction.DictVectorizer(sparse=False).fit(rows)
    value = kind([])
    proto = skl2onnx.convert_sklearn(model, initial_types=[("x", DictionaryType(StringTensorType([]), value))])
    compiled = graphc.compile(proto)
    for row in ({"a": 1.5}, {"b": 2.0, "c": 3.0}, *rows[:2]):
        got = compiled.run({"x": row})["variable"]
        np.testing.assert_array_equal(got, model.transform([row]).astype(got.dtype))


TEXT_MODELS = {
    "counts": lambda: text.CountVectorizer(token_pattern="[a-zA-Z]+"),
    "pairs": lambda: text.CountVectorizer(token_pattern="[a-zA-Z]+", ngram_range=(1, 2), binary=True),
    "weights": lambda: text.TfidfVectorizer(token_pattern="[a-zA-Z]+", use_idf=True),
    "stop_words": lambda: text.TfidfVectorizer(token_pattern="[a-zA-Z]+", stop_words=["the", "on"], lowercase=False),
    "characters": lambda: text.TfidfVectorizer(analyzer="char", ngram_range=(1, 3)),
    "classifier": lambda: pipeline.make_pipeline(
        text.TfidfVectorizer(token_pattern="[a-zA-Z]+"), linear_model.LogisticRegression()
    ),
}


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_texts(name: str) -> None:
    """Words, characters and what they are worth; texts are split by onnxruntime's Tokenizer."""
    model = TEXT_MODELS[name]().fit(TEXTS, np.arange(len(TEXTS)) % 2)
    column = TEXTS[:, None]
    steps = model if isinstance(model, pipeline.Pipeline) else [model]
    proto = skl2onnx.convert_sklearn(
        model,
        initial_types=[("x", StringTensorType([None, 1]))],
        options={id(steps[0]): {"locale": "C"}},  # which every system has
        target_opset=OPSETS,
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for level in (0, 2):
        got = graphc.compile(proto, level=level).run({"x": column})
        for g, want, port in zip(got.values(), session.run(None, {"x": column}), session.get_outputs(), strict=True):
            close(g, want, port.name)
    first = next(iter(got.values()))
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(first, model.predict(TEXTS))
    else:
        close(first, model.transform(TEXTS).toarray().astype(np.float32), "scikit-learn")


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor(name: str) -> None:
    model = REGRESSORS[name]().fit(X, REAL)
    x = X.astype(np.float64) if name == "gaussian_process" else X  # its sums cancel
    y, *_ = check(model, x)
    close(y.ravel(), model.predict(X).astype(y.dtype), "onnxruntime and scikit-learn", 1e-3)


@pytest.mark.parametrize("name", ["linear", "decision_tree", "random_forest", "neighbors", "perceptrons"])
def test_two_targets(name: str) -> None:
    check(REGRESSORS[name]().fit(X, TARGETS), X)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(name: str) -> None:
    make, x = TRANSFORMERS[name]
    model = make().fit(x)
    wants = check(model, x)
    if hasattr(model, "transform") and name != "k_means":
        result = model.transform(x)
        result = result.toarray() if hasattr(result, "toarray") else result
        close(wants[0], np.asarray(result).astype(wants[0].dtype), "onnxruntime and scikit-learn", 1e-3)
