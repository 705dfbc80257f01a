"""Control flow: ops that choose or repeat a body.

ONNX lets a body read values from around it. Here a body is closed: what it reads is passed to it as further inputs at
the end of the node's inputs, the captured values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from graphc.dims import Dim, dim_max, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ResourceLimit, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Cost, Graph, Op, Value, substitute
from graphc.limits import check_deadline, current_limits
from graphc.ops.adjoint import TripGradient, branch_gradients, trip_gradient
from graphc.ops.base import const, normalize_axis, per_output
from graphc.ops.bodies import Repetition, body_cost, fit_loop, fitted_inputs, leaving
from graphc.ops.generate import zeros_like
from graphc.ops.indexing import Gather
from graphc.ops.logic import Identity
from graphc.ops.scan_outputs import ScanOutputs
from graphc.ops.unroll import fits, slice_at, stacked
from graphc.types import Array, DType, OptionalType, TensorType, Type, bool_, int64, join, unify


# -- If ---------------------------------------------------------------------------------------------------------------
class If(Op):
    """then_branch(captured) if cond else else_branch(captured). ONNX If-25.

    Inputs: cond, one bool in a tensor of any rank; then the captured values, of any types. Outputs of the branches may
    differ in shape, not in dtype.

    Attributes:
        then_branch, else_branch: graphs with one input for each captured value, and equally many outputs.
    """

    then_branch: Graph
    else_branch: Graph

    def refine(self, xs: Sequence[Value | None]) -> Op:
        given = [x for x in xs[1:] if x is not None]
        taken = _known_condition(xs[0])
        fitted = {}
        for name, branch, when in (("then_branch", self.then_branch, True), ("else_branch", self.else_branch, False)):
            if taken is not None and taken is not when:
                continue  # a branch that is never taken need not fit sizes that it is there to avoid
            inputs = fitted_inputs(branch, [x.type for x in given], [x.content for x in given])
            if inputs is not None:
                outputs = substitute(branch, dict(zip(branch.inputs, inputs, strict=True)))
                fitted[name] = Graph(inputs, outputs, branch.output_names, name=branch.name)
        return replace(self, **fitted) if fitted else self

    def infer(self, cond: Value, *captured: Value) -> tuple[Type, ...]:
        _check_single(cond, bool_, "cond")
        then_types = [v.type for v in self.then_branch.outputs]
        else_types = [v.type for v in self.else_branch.outputs]
        if len(then_types) != len(else_types):
            raise InvalidModel(f"then_branch has {len(then_types)} outputs, else_branch has {len(else_types)}")
        joined = []
        for i, (a, b) in enumerate(zip(then_types, else_types, strict=True)):
            try:
                joined.append(join(a, b))
            except ShapeError as e:
                raise TypeMismatch(f"output {i} is {a} in then_branch and {b} in else_branch") from e
        taken = _known_condition(cond)
        types = joined if taken is None else then_types if taken else else_types
        return leaving(types, captured)

    def eval(self, cond: Array, *captured: Any) -> tuple[Any, ...]:
        return tuple(interpret(self.then_branch if _single(cond) else self.else_branch, captured))

    def decompose(self, cond: Value, *captured: Value) -> Sequence[Value] | None:
        """The branch that is taken, where that is known."""
        taken = _known_condition(cond)
        return None if taken is None else (self.then_branch if taken else self.else_branch)(*captured)

    def grad(self, dy: Any, y: Any, cond: Value, *captured: Value) -> Sequence[Value | None]:
        """An If over the gradients of the branches."""
        dys = per_output(dy)
        graphs, needed = branch_gradients([self.then_branch, self.else_branch], [d is not None for d in dys])
        found = iter(If(*graphs).apply((cond, *captured, *(d for d in dys if d is not None))))
        return [None, *(next(found) if n else None for n in needed)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """That of the branch that does more arithmetic."""
        costs = (body_cost(self.then_branch), body_cost(self.else_branch))
        taken = _known_condition(xs[0])
        if taken is not None:
            return costs[0] if taken else costs[1]
        return Cost(dim_max(costs[0].flops, costs[1].flops), dim_max(costs[0].bytes, costs[1].bytes))


def _known_condition(cond: Value | None) -> bool | None:
    """What the condition is, where that is known."""
    known = None if cond is None else cond.const
    return bool(known.reshape(-1)[0]) if known is not None and known.size == 1 else None


def _check_single(x: Value, dtype: DType, what: str) -> None:
    """Raise unless `x` is one element of `dtype`, in a tensor of any rank."""
    if x.dtype is not dtype:
        raise TypeMismatch(f"{what} is {x.tensor}, expected {dtype.short}[]", value=x.name)
    if x.shape is not None and any(isinstance(d, int) and d != 1 for d in x.shape):
        raise ShapeError(f"{what} is {x.tensor}, expected a single element", value=x.name)


def _single(x: Array) -> Any:
    """The element of a one-element tensor as a Python number."""
    if x.size != 1:
        raise ExecutionError(f"expected a single element, got shape {list(x.shape)}")
    return x.reshape(-1)[0].item()


# -- Loop -------------------------------------------------------------------------------------------------------------
class Loop(Op):
    """for i < trip_count while cond: (cond, *carried, *slices) = body(i, cond, *carried, *captured). ONNX Loop-25.

    Inputs: trip_count, one int64, or None where there is no bound; cond, one bool, or None for true; the carried
    values; the captured values. Outputs: the carried values after the last trip, then the slices of each trip stacked
    along a new first axis. Carried values may change shape from trip to trip, and may be sequences or optionals;
    slices are tensors of one shape. More trips than `Limits.max_loop_trips` raise `ResourceLimit`.

    Attributes:
        body: inputs (i: i64[], cond: bool[], *carried, *captured), outputs (cond, *carried, *slices).
        captured: how many of the inputs, at the end, are captured values.
    """

    body: Graph
    captured: int = field(default=0, metadata={"onnx": False})

    def refine(self, xs: Sequence[Value | None]) -> Op:
        carried, captured = self._split(xs)
        scalars = [TensorType(int64, ()), TensorType(bool_, ())]
        body = fit_loop(self.body, scalars, carried, [(x.type, x.content) for x in captured], 1)
        return self if body is self.body else replace(self, body=body)

    def infer(self, trip_count: Value | None = None, cond: Value | None = None, *xs: Value) -> tuple[Type, ...]:
        if trip_count is not None:
            _check_single(trip_count, int64, "trip_count")
        if cond is not None:
            _check_single(cond, bool_, "cond")
        _check_single(self.body.outputs[0], bool_, "the condition computed by body")
        count = len(xs) - self.captured
        trips = self._trips(trip_count, cond)
        types: list[Type] = [self._final_type(i) for i in range(count)]
        for v in self.body.outputs[1 + count :]:
            types.append(TensorType(v.dtype, None if v.shape is None else (trips, *v.shape)))
        return leaving(types, [trip_count, cond, *xs])

    def eval(self, trip_count: Array | None = None, cond: Array | None = None, *xs: Any) -> tuple[Any, ...]:
        count = len(xs) - self.captured
        carried, captured = list(xs[:count]), xs[count:]
        trips = None if trip_count is None else _single(trip_count)
        going = True if cond is None else _single(cond)
        most = current_limits().max_loop_trips
        slices = self.body.outputs[1 + count :]
        scans = ScanOutputs(slices)
        i = 0
        while going and (trips is None or i < trips):
            if i >= most:
                raise ResourceLimit(f"stopped after {most:,} trips", hint="Raise it with Limits(max_loop_trips=…)")
            check_deadline()
            results = interpret(self.body, [np.array(i, np.int64), np.array(going), *carried, *captured])
            going = _single(results[0])
            carried = results[1 : 1 + count]
            scans.add(results[1 + count :])
            i += 1
        for k, x in enumerate(carried):
            if x is None and not isinstance(self._final_type(k), OptionalType):
                raise ExecutionError(f"carried value {k} is an empty optional, and no trip replaces it")
        given = zip(self.body.inputs[2:], map(_shape, xs), strict=True)
        return (*carried, *scans.stacked([0 for _ in slices], [0 for _ in slices], given))

    def decompose(
        self, trip_count: Value | None = None, cond: Value | None = None, *xs: Value
    ) -> Sequence[Value] | None:
        """Trip after trip, where their number is known and small."""
        trips, (carried, captured) = self._trips(trip_count, cond), self._split((trip_count, cond, *xs))
        if not isinstance(trips, int) or not fits(self.body, trips) or not _are_tensors(carried):
            return None
        scans: list[Sequence[Value]] = []
        for i in range(trips):
            _, *made = self.body(const(i, int64), const(True, bool_), *carried, *captured)
            carried = made[: len(carried)]
            scans.append(made[len(carried) :])
        if not trips:
            return _without_trips(carried, self.infer(trip_count, cond, *xs))
        return [*carried, *(stacked(column, 0) for column in zip(*scans, strict=True))]

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        """Runs again, recording what each trip starts from, and then scans the records backwards."""
        carried, captured = self._split(xs)
        n, c, count = len(carried), len(captured), len(self.body.inputs) - len(captured)
        dys = per_output(dy)
        ys = per_output(y)
        trip = trip_gradient(self.body, 2, 1, n, c, [d is not None for d in dys[n:]])
        record = Graph(self.body.inputs, [*self.body.outputs[: 1 + n], *self.body.inputs[:count]])
        records = Loop(record, c).apply(xs)[n:]
        seeds = [d for d in dys[n:] if d is not None]
        scanned = [*records, *seeds]
        backwards = Scan(trip.body, len(scanned), scan_input_directions=(1,) * len(scanned), captured=c)
        found = backwards.apply([*_starts(trip, dys, ys, captured), *scanned, *captured])
        gradients = _place(trip.carried, found, n) + _place(trip.captured, found[len(trip.carried) :], c)
        return [*(None for _ in xs[:2]), *gradients]

    def repetition(self, *xs: Value | None) -> Repetition:
        """The loop that counts its trips, on inputs `xs` that are nothing but inputs."""
        trip_count, cond = (*xs, None, None)[:2]
        carried, captured = self._split(xs)
        given = [x for x in xs if x is not None]
        number, *cells = _cells(self.body.inputs[2 : 2 + len(carried)])
        again, *made = self.body(number, const(True, bool_), *cells, *captured)
        first, following = const(0, int64), number + 1
        start = Graph(given, [_going(cond, first, trip_count), first, *carried])
        body = Graph([number, *cells, *given], [_going(again, following, trip_count), following, *made])
        slices = len(made) - len(carried)
        return Repetition(start, body, self._trips(trip_count, cond), (0,) * slices, (False,) * slices)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """The body's, times the trips; where their number is not known, an unknown number of times."""
        return body_cost(self.body, self._trips(*(*xs, None, None)[:2]))

    def _split(self, xs: Sequence[Value | None]) -> tuple[list[Value], list[Value]]:
        given = [x for x in xs[2:] if x is not None]
        count = len(given) - self.captured
        if len(self.body.inputs) != 2 + len(given) or not 0 <= count < len(self.body.outputs):
            raise InvalidModel(
                f"body has {len(self.body.inputs)} inputs and {len(self.body.outputs)} outputs, which does not fit "
                f"{count} carried and {self.captured} captured values",
                hint="body takes (iteration, cond, *carried, *captured) and gives (cond, *carried, *slices)",
            )
        return given[:count], given[count:]

    def _final_type(self, i: int) -> Type:
        """Carried value number `i` after the loop. An optional that the body replaces by a value is one, as in ONNX."""
        before, after = self.body.inputs[2 + i].type, self.body.outputs[1 + i].type
        if isinstance(before, OptionalType) and not isinstance(after, OptionalType):
            return before.element
        return before

    def _trips(self, trip_count: Value | None, cond: Value | None) -> Dim:
        """The number of trips where it is known: the condition starts true and stays so."""
        starts = True if cond is None else _known_condition(cond)
        if starts is False:
            return 0
        count = None if trip_count is None else trip_count.dims
        if starts is None or not self._keeps_going() or count is None or count.size != 1:
            return unknown()
        return dim_max(count.reshape(-1)[0], 0)

    def _keeps_going(self) -> bool:
        v = self.body.outputs[0]
        while v.node is not None and isinstance(v.node.op, Identity) and v.node.inputs[0] is not None:
            v = v.node.inputs[0]
        return v is self.body.inputs[1] or _known_condition(v) is True


# -- Scan -------------------------------------------------------------------------------------------------------------
class Scan(Op):
    """(*states, *slices) = body(*states, *slices of the scan inputs, *captured) along the scan inputs. ONNX Scan-25.

    Inputs: the initial states, the scan inputs, tensors of one length along the axes that they are cut along, the
    captured values. Outputs: the final states, then the slices of each trip stacked along a new axis. Axes may be
    negative. Scan inputs of different lengths raise `ExecutionError`.

    Attributes:
        body: inputs (*states, *slices, *captured), outputs (*states, *slices).
        num_scan_inputs: how many of the inputs are scanned.
        scan_input_axes: for each scan input, the axis that it is cut along; default 0.
        scan_input_directions: for each scan input, 1 to scan it backwards; default 0.
        scan_output_axes: for each scan output, the axis along which its slices are stacked; default 0.
        scan_output_directions: for each scan output, 1 to stack its slices in reverse order; default 0.
        captured: how many of the inputs, at the end, are captured values.
    """

    body: Graph
    num_scan_inputs: int
    scan_input_axes: tuple[int, ...] | None = None
    scan_input_directions: tuple[int, ...] | None = None
    scan_output_axes: tuple[int, ...] | None = None
    scan_output_directions: tuple[int, ...] | None = None
    captured: int = field(default=0, metadata={"onnx": False})

    def refine(self, xs: Sequence[Value | None]) -> Op:
        states, scanned, captured = self._split([x for x in xs if x is not None])
        self._check_attributes()
        slices = [(_slice_type(x, axis), None) for x, axis in zip(scanned, self._input_axes, strict=True)]
        trail = [*slices, *((x.type, x.content) for x in captured)]
        body = fit_loop(self.body, (), states, trail, 0)
        return self if body is self.body else replace(self, body=body)

    def infer(self, *xs: Value) -> tuple[Type, ...]:
        states, scanned, _ = self._split(xs)
        types: list[Type] = [v.type for v in self.body.inputs[: len(states)]]
        trips = self._trips(scanned)
        for v, axis in zip(self.body.outputs[len(states) :], self._output_axes, strict=True):
            shape = None
            if v.shape is not None:
                at = normalize_axis(axis, len(v.shape) + 1)
                shape = (*v.shape[:at], trips, *v.shape[at:])
            types.append(TensorType(v.dtype, shape))
        return leaving(types, xs)

    def eval(self, *xs: Any) -> tuple[Any, ...]:
        states, scanned, captured = self._split(xs)
        cut = [np.moveaxis(x, axis, 0) for x, axis in zip(scanned, self._input_axes, strict=True)]
        cut = [x[::-1] if reverse else x for x, reverse in zip(cut, self._directions(True), strict=True)]
        lengths = {len(x) for x in cut}
        if len(lengths) != 1:
            raise ExecutionError(f"the scan inputs have different lengths: {sorted(lengths)}")
        (trips,) = lengths
        current_limits().check("trips of a Scan", trips, "max_loop_trips")
        count = len(states)
        scans = ScanOutputs(self.body.outputs[count:])
        shapes = [*map(_shape, states), *(x.shape[1:] for x in cut), *map(_shape, captured)]
        for i in range(trips):
            check_deadline()
            results = interpret(self.body, [*states, *(x[i] for x in cut), *captured])
            states = results[:count]
            scans.add(results[count:])
        given = zip(self.body.inputs, shapes, strict=True)
        return (*states, *scans.stacked(self._output_axes, self._directions(False), given))

    def decompose(self, *xs: Value) -> Sequence[Value] | None:
        """Trip after trip, where their number is known and small."""
        states, scanned, captured = self._split(xs)
        trips = self._trips(scanned)
        if not isinstance(trips, int) or not fits(self.body, trips) or not _are_tensors(states):
            return None
        if not trips:
            return _without_trips(states, self.infer(*xs))
        read = list(zip(scanned, self._input_axes, self._directions(True), strict=True))
        scans: list[Sequence[Value]] = []
        for i in range(trips):
            cut = [slice_at(x, normalize_axis(a, x.rank or 0), trips - 1 - i if r else i) for x, a, r in read]
            made = self.body(*states, *cut, *captured)
            states = list(made[: len(states)])
            scans.append(made[len(states) :])
        columns = zip(zip(*scans, strict=True), self._output_axes, self._directions(False), strict=True)
        return [*states, *(stacked(c[::-1] if reverse else c, axis) for c, axis, reverse in columns)]

    def grad(self, dy: Any, y: Any, *xs: Value) -> Sequence[Value | None]:
        """Runs again, recording the states before each trip, and then scans everything backwards."""
        states, scanned, captured = self._split(xs)
        n, m, c = len(states), len(scanned), len(captured)
        dys = per_output(dy)
        ys = per_output(y)
        trip = trip_gradient(self.body, 0, 0, n, c, [d is not None for d in dys[n:]])
        records: Sequence[Value] = ()
        if n:
            record = Graph(self.body.inputs, [*self.body.outputs[:n], *self.body.inputs[:n]])
            forwards = Scan(record, m, self.scan_input_axes, self.scan_input_directions, captured=c)
            records = forwards.apply(xs)[n:]
        # Where the scan went forwards, its gradient goes backwards, and the other way round.
        seeds = [k for k, d in enumerate(dys[n:]) if d is not None]
        axes = [*(0 for _ in records), *self._input_axes, *(self._output_axes[k] for k in seeds)]
        reverse = [0 for _ in records] + [*self._directions(True), *(self._directions(False)[k] for k in seeds)]
        backwards = Scan(
            trip.body,
            len(axes),
            scan_input_axes=tuple(axes),
            scan_input_directions=tuple(1 - r for r in reverse),
            scan_output_axes=tuple(self._input_axes[k] for k in trip.slices),
            scan_output_directions=tuple(1 - self._directions(True)[k] for k in trip.slices),
            captured=c,
        )
        starts = _starts(trip, dys, ys, captured)
        found = backwards.apply([*starts, *records, *scanned, *(dys[n + k] for k in seeds), *captured])
        first, last = len(trip.carried), len(trip.carried) + len(trip.captured)
        return [
            *_place(trip.carried, found, n),
            *_place(trip.slices, found[last:], m),
            *_place(trip.captured, found[first:], c),
        ]

    def repetition(self, *xs: Value | None) -> Repetition:
        """The loop over the slices, on inputs `xs` that are nothing but inputs."""
        given = [x for x in xs if x is not None]
        states, scanned, captured = self._split(given)
        trips = self._trips(scanned)
        if not isinstance(trips, int):
            raise CompileError("the length of the scan is known only at run time")
        number, *cells = _cells(self.body.inputs[: len(states)])
        from_end: Value = const(trips - 1, int64) - number
        cut = [
            Gather(axis)(x, from_end if reverse else number)
            for x, axis, reverse in zip(scanned, self._input_axes, self._directions(True), strict=True)
        ]
        made = self.body(*cells, *cut, *captured)
        first, following = const(0, int64), number + 1
        start = Graph(given, [const(trips > 0, bool_), first, *states])
        body = Graph([number, *cells, *given], [following < trips, following, *made])
        slices = zip(self._output_axes, self.body.outputs[len(states) :], strict=True)
        axes = tuple(normalize_axis(axis, len(v.shape or ()) + 1) for axis, v in slices)
        return Repetition(start, body, trips, axes, tuple(map(bool, self._directions(False))))

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """The body's, times the length of the scan."""
        return body_cost(self.body, self._trips(self._split([x for x in xs if x is not None])[1]))

    def _split(self, xs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        first = len(xs) - self.captured - self.num_scan_inputs
        if self.num_scan_inputs < 1:
            raise InvalidModel(f"num_scan_inputs is {self.num_scan_inputs}, expected 1 or more")
        if not 0 <= first <= len(self.body.outputs) or len(self.body.inputs) != len(xs):
            raise InvalidModel(
                f"body has {len(self.body.inputs)} inputs and {len(self.body.outputs)} outputs, which does not fit "
                f"{first} states, {self.num_scan_inputs} scan inputs and {self.captured} captured values"
            )
        last = first + self.num_scan_inputs
        return list(xs[:first]), list(xs[first:last]), list(xs[last:])

    def _trips(self, scanned: Sequence[Value]) -> Dim:
        trips: Dim | None = None
        for x, axis in zip(scanned, self._input_axes, strict=True):
            if x.shape is not None:
                d = x.shape[normalize_axis(axis, len(x.shape))]
                trips = d if trips is None else unify(trips, d)
        return unknown() if trips is None else trips

    @property
    def _scan_outputs(self) -> int:
        return len(self.body.outputs) - (len(self.body.inputs) - self.num_scan_inputs - self.captured)

    @property
    def _input_axes(self) -> tuple[int, ...]:
        return self.scan_input_axes or (0,) * self.num_scan_inputs

    @property
    def _output_axes(self) -> tuple[int, ...]:
        return self.scan_output_axes or (0,) * self._scan_outputs

    def _directions(self, inputs: bool) -> tuple[int, ...]:
        if inputs:
            return self.scan_input_directions or (0,) * self.num_scan_inputs
        return self.scan_output_directions or (0,) * self._scan_outputs

    def _check_attributes(self) -> None:
        for name, values, count in (
            ("scan_input_axes", self._input_axes, self.num_scan_inputs),
            ("scan_input_directions", self._directions(True), self.num_scan_inputs),
            ("scan_output_axes", self._output_axes, self._scan_outputs),
            ("scan_output_directions", self._directions(False), self._scan_outputs),
        ):
            if len(values) != count:
                raise InvalidModel(f"{name} has {len(values)} entries, expected {count}")
            if "directions" in name and any(v not in (0, 1) for v in values):
                raise InvalidModel(f"{name} is {list(values)}, expected 0 (forward) or 1 (reverse)")


def _shape(x: Any) -> tuple[int, ...] | None:
    """The shape of what is an array; None for sequences and optionals."""
    return x.shape if isinstance(x, np.ndarray) else None


def _cells(carried: Sequence[Value]) -> list[Value]:
    """The inputs of a trip: its number, and a value for each of `carried`."""
    return [
        Value(TensorType(int64, ()), name="number"),
        *(Value(v.type, name=f"carried{k}") for k, v in enumerate(carried)),
    ]


def _going(cond: Value | None, number: Value, trip_count: Value | None) -> Value:
    """Whether there is a trip of this number."""
    found = [] if cond is None or _known_condition(cond) is True else [cond.reshape([])]
    if trip_count is not None:
        found.append(number < trip_count.reshape([]))
    if not found:
        return const(True, bool_)
    return found[0] if len(found) == 1 else found[0] & found[1]


def _starts(
    trip: TripGradient, dys: Sequence[Value | None], ys: Sequence[Value], captured: Sequence[Value]
) -> list[Value]:
    """What the way back starts from: the gradients of the final values, and sums of nothing for captured values."""
    starts = []
    for i in trip.carried:
        d = dys[i]
        starts.append(zeros_like(ys[i]) if d is None else d)
    return starts + [zeros_like(captured[i]) for i in trip.captured]


def _place(positions: Sequence[int], values: Sequence[Value], count: int) -> list[Value | None]:
    """`values` at `positions` in a list of `count`, None elsewhere."""
    placed = dict(zip(positions, values, strict=False))
    return [placed.get(i) for i in range(count)]


def _without_trips(carried: Sequence[Value], types: Sequence[Type]) -> Sequence[Value] | None:
    """The outputs, which have these types, of a loop that ends before it begins; None where a size is not known."""
    slices = [t for t in types[len(carried) :] if isinstance(t, TensorType) and t.is_static]
    if len(carried) + len(slices) < len(types):
        return None
    return [*carried, *(const(np.empty(t.shape or (), t.dtype.numpy), t.dtype) for t in slices)]


def _are_tensors(values: Iterable[Value]) -> bool:
    return all(isinstance(v.type, TensorType) for v in values)


def _slice_type(x: Value, axis: int) -> TensorType:
    """The type of one slice of `x` along `axis`."""
    if x.shape is None:
        return TensorType(x.dtype, None)
    at = normalize_axis(axis, len(x.shape))
    return TensorType(x.dtype, x.shape[:at] + x.shape[at + 1 :])
