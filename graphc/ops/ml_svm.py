"""Support vector machines of ai.onnx.ml, in the form of libsvm, and of liblinear where there are no vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.ir import Cost, Op, traffic
from graphc.ops.base import Array, Dim, TensorType, Value, const
from graphc.ops.math import Exp, Tanh
from graphc.ops.ml_encoding import DOMAIN
from graphc.ops.ml_features import features, matrix
from graphc.ops.ml_linear import affine, affine_of, check_coefficients
from graphc.ops.ml_scores import TRANSFORMS, Classifier, check_choice, logistic, rows_of, transformed, two_columns
from graphc.ops.ml_transforms import transform
from graphc.ops.ml_transforms import two_columns as two_columns_of
from graphc.ops.vjp import decomposed_grad
from graphc.types import float32, float64

KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
Floats = tuple[float, ...]


class SupportVectors(Op):
    """What both machines have: the kernel K(x, v) between rows and support vectors.

    LINEAR x·v, POLY (γ x·v + c)^d, RBF exp(−γ |x − v|²), SIGMOID tanh(γ x·v + c), with kernel_params = (γ, c, d).
    """

    coefficients: Floats | None = None
    kernel_params: Floats | None = None
    kernel_type: str = "LINEAR"
    post_transform: str = "NONE"
    rho: Floats | None = None
    support_vectors: Floats | None = None
    domain = DOMAIN

    def check(self, x: Value, vectors: int) -> Dim:
        """Raise unless kernel and vectors fit x; the number of rows."""
        rows, n, found = rows_of(x), features(x), len(self.support_vectors or ())
        check_choice("kernel_type", self.kernel_type, KERNELS)
        check_choice("post_transform", self.post_transform, TRANSFORMS)
        if vectors and (found % vectors or (isinstance(n, int) and found != vectors * n)):
            raise ShapeError(f"support_vectors has {found} entries, expected {vectors} for each feature of {x.tensor}")
        if vectors and self.kernel_type != "LINEAR" and len(self.kernel_params or ()) != 3:
            raise InvalidModel(f"kernel_params is {self.kernel_params}, expected gamma, coef0 and degree")
        return rows

    def kernel(self, x: Array, vectors: int) -> Array:
        """K between the rows of x (N, F) and the support vectors: (N, vectors)."""
        if len(self.support_vectors or ()) != vectors * x.shape[1]:
            raise ExecutionError(f"the support vectors are not those of {x.shape[1]} features")
        v = np.array(self.support_vectors, np.float32).astype(np.float64).reshape(vectors, -1)
        products = x @ v.T
        if self.kernel_type == "LINEAR":
            return products
        gamma, shift, degree = np.array(self.kernel_params, np.float32).astype(np.float64)
        if self.kernel_type == "RBF":
            distances = (x * x).sum(1)[:, None] + (v * v).sum(1) - 2 * products
            return np.asarray(np.exp(-gamma * distances))
        inner = gamma * products + shift
        return np.asarray(np.tanh(inner) if self.kernel_type == "SIGMOID" else inner**degree)

    def kernel_of(self, x: Value, vectors: int) -> Value:
        """`kernel` as graph code; x is float64."""
        v = np.array(self.support_vectors, np.float32).astype(np.float64).reshape(vectors, -1)
        products = x @ const(np.ascontiguousarray(v.T))
        if self.kernel_type == "LINEAR":
            return products
        gamma, shift, degree = np.array(self.kernel_params, np.float32).astype(np.float64).tolist()
        if self.kernel_type == "RBF":
            distances = (x * x).sum([1], keepdims=True) + const((v * v).sum(1)) - 2.0 * products
            return Exp().apply((-gamma * distances,))[0]
        inner = gamma * products + shift
        return Tanh().apply((inner,))[0] if self.kernel_type == "SIGMOID" else inner**degree

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        rows: Dim = ys[0].shape[0] if ys[0].shape else 0
        each = 2 * len(self.support_vectors or ()) + 2 * len(self.coefficients or ())
        return Cost(rows * each, traffic(xs, ys))


class SVMRegressor(SupportVectors):
    """y = Σ_j coefficients_j K(x, v_j) + rho; with `one_class`, 1 where that is above 0, else −1. SVMRegressor-1.

    x is (N, F) or (F), y is (N, 1) as float32. Without support vectors, y = x · coefficients + rho. A transform of the
    single score has no effect, as in ONNX Runtime. ONNX ai.onnx.ml.
    """

    n_supports: int = 0
    one_class: bool = False

    def infer(self, x: Value) -> TensorType:
        rows = self.check(x, self.n_supports)
        if self.n_supports and len(self.coefficients or ()) != self.n_supports:
            raise InvalidModel(f"there are {len(self.coefficients or ())} coefficients and {self.n_supports} vectors")
        if not self.n_supports:
            check_coefficients(x, len(self.coefficients or ()), 1)
        return TensorType(float32, (rows, 1))

    def eval(self, x: Array) -> Array:
        x = np.atleast_2d(x).astype(np.float64)
        basis = self.kernel(x, self.n_supports) if self.n_supports else x
        scores = affine(basis, self.coefficients or (), (self.rho or (0.0,))[:1], 1)
        return (np.where(scores > 0, 1, -1) if self.one_class else scores).astype(np.float32)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [None] if self.one_class else decomposed_grad(self._scores, dy, y, [x])

    def _scores(self, x: Value) -> list[Value]:
        """The op in simpler ones."""
        wide = matrix(x.cast(float64))
        basis = self.kernel_of(wide, self.n_supports) if self.n_supports else wide
        return [affine_of(basis, self.coefficients or (), (self.rho or (0.0,))[:1], 1)]


class SVMClassifier(SupportVectors, Classifier):
    """The class with most votes of the machines for each pair of classes, and scores. ONNX ai.onnx.ml SVMClassifier-1.

    x is (N, F) or (F), the labels are (N). The machine for classes i < j gives s = Σ_v K(x, v) c_v + rho over the
    vectors of both, and votes for i where s > 0. Scores, as float32, are one for each pair, transformed; for two
    classes −s and s (1 − s and s when they are to be transformed); with prob_a and prob_b, one probability for each
    class, coupled as Wu, Lin and Weng 2004 do. Without vectors, they are x Wᵀ + rho_0, and the label is the highest's.
    """

    classlabels_ints: tuple[int, ...] | None = None
    classlabels_strings: tuple[str, ...] | None = None
    prob_a: Floats | None = None
    prob_b: Floats | None = None
    vectors_per_class: tuple[int, ...] | None = None

    @property
    def _vectors(self) -> int:
        return sum(self.vectors_per_class or ())

    def infer(self, x: Value) -> tuple[TensorType, TensorType]:
        rows, classes, coefficients = self.check(x, self._vectors), len(self.labels()), len(self.coefficients or ())
        if classes < 2:
            raise InvalidModel(f"there are {classes} classes, expected at least two")
        if not self._vectors:
            check_coefficients(x, coefficients, classes)
            return self.types(rows, classes, float32)
        pairs = classes * (classes - 1) // 2
        for what, found, expected in (
            ("vectors_per_class", len(self.vectors_per_class or ()), classes),
            ("coefficients", coefficients, (classes - 1) * self._vectors),
            ("rho", len(self.rho or ()), pairs),
            ("prob_a", len(self.prob_a or ()), pairs if self.prob_a else 0),
            ("prob_b", len(self.prob_b or ()), pairs if self.prob_a else 0),
        ):
            if found != expected:
                raise InvalidModel(f"{what} has {found} entries, expected {expected} for {classes} classes")
        return self.types(rows, classes if self.prob_a or classes == 2 else pairs, float32)

    def eval(self, x: Array) -> tuple[Array, Array]:
        labels, x = self.labels(), np.atleast_2d(x).astype(np.float64)
        classes = len(labels)
        if not self._vectors:
            first = (self.rho or (0.0,))[0]
            scores = affine(x, self.coefficients or (), (first,) * classes, classes).astype(np.float32)
            return labels[scores.argmax(1)], transformed(scores, self.post_transform)
        pairs = np.array(list(combinations(range(classes), 2)))
        scores = self._pairwise(self.kernel(x, self._vectors), pairs)
        winners = np.where(scores > 0, pairs[:, 0], pairs[:, 1])
        votes = (winners[:, :, None] == np.arange(classes)).sum(1)
        chosen = labels[votes.argmax(1)]
        if self.prob_a:
            scores = self._probabilities(scores, pairs, classes)
        scores = scores.astype(np.float32)
        if scores.shape[1] == 1:
            return chosen, two_columns(scores[:, 0], self.post_transform, probability=self.post_transform != "NONE")
        return chosen, transformed(scores, self.post_transform)

    def grad(self, dy: Sequence[Value | None], y: Sequence[Value], x: Value) -> Sequence[Value | None]:
        if self.prob_a and self._vectors:
            raise CompileError("the probabilities of classes come from an iteration, which has no gradient here")
        seed = dy[1]
        return [None] if seed is None else decomposed_grad(self._scores, seed, y[1], [x])

    def _scores(self, x: Value) -> list[Value]:
        """The scores in simpler ops."""
        wide, classes = matrix(x.cast(float64)), len(self.labels())
        if not self._vectors:
            first = (self.rho or (0.0,))[0]
            scores = affine_of(wide, self.coefficients or (), (first,) * classes, classes)
            return [transform(scores, self.post_transform)]
        pairs = np.array(list(combinations(range(classes), 2)))
        rho = const(np.array(self.rho, np.float32).astype(np.float64))
        scores = (self.kernel_of(wide, self._vectors) @ const(self._machines(pairs)) + rho).cast(float32)
        if len(pairs) == 1:
            return [two_columns_of(scores, self.post_transform, probability=self.post_transform != "NONE")]
        return [transform(scores, self.post_transform)]

    def _machines(self, pairs: Array) -> Array:
        """The coefficients of the machine for each pair of classes: (vectors, pairs)."""
        weights = np.array(self.coefficients, np.float32).reshape(-1, self._vectors)
        counts = np.array(self.vectors_per_class, np.int64)
        ends = np.cumsum(counts)
        starts = ends - counts
        machines = np.zeros((self._vectors, len(pairs)))
        for k, (i, j) in enumerate(pairs):
            machines[starts[i] : ends[i], k] = weights[j - 1, starts[i] : ends[i]]
            machines[starts[j] : ends[j], k] = weights[i, starts[j] : ends[j]]
        return machines

    def _pairwise(self, kernel: Array, pairs: Array) -> Array:
        """The score of the machine for each pair of classes: (N, pairs)."""
        return np.asarray(kernel @ self._machines(pairs) + np.array(self.rho, np.float32))

    def _probabilities(self, scores: Array, pairs: Array, classes: int) -> Array:
        """The probability of each class, from those of each pair."""
        a, b = np.array(self.prob_a, np.float32), np.array(self.prob_b, np.float32)
        wins = np.clip(1 - logistic(scores * a + b), 1e-7, 1 - 1e-7)
        i, j = pairs.T
        between = np.zeros((len(scores), classes, classes))
        between[:, i, j], between[:, j, i] = wins, 1 - wins
        return coupled(between)


def coupled(r: Array) -> Array:
    """p with Σ_i p_i = 1 that minimises Σ_i Σ_{j≠i} (r_ji p_i − r_ij p_j)², for each row of r (N, k, k); r_ii = 0.

    Method 2 of Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise coupling", 2004.
    """
    n, k, _ = r.shape
    q = -r * r.transpose(0, 2, 1)
    diagonal = (r * r).sum(1)
    q[:, np.arange(k), np.arange(k)] = diagonal
    p = np.full((n, k), 1 / k)
    active = np.arange(n)
    for _ in range(max(100, k)):
        qp = np.einsum("nij,nj->ni", q[active], p[active])
        value = (p[active] * qp).sum(1)
        going = np.abs(qp - value[:, None]).max(1) >= 0.005 / k
        active, qp, value = active[going], qp[going], value[going]
        if not len(active):
            break
        now, rows, own = p[active], q[active], diagonal[active]
        for t in range(k):
            step = (value - qp[:, t]) / own[:, t]
            now[:, t] += step
            value = (value + step * (step * own[:, t] + 2 * qp[:, t])) / (1 + step) ** 2
            qp = (qp + step[:, None] * rows[:, t]) / (1 + step)[:, None]
            now /= (1 + step)[:, None]
        p[active] = now
    return p
