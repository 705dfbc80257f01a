"""One engine in a process of its own: load a model, then time it for as long as each line of the input says.

    python benchmarks/engines.py ENGINE MODEL.onnx FEEDS.npz RESULTS.npz THREADS

Answers with a line of JSON when the model is loaded, {"version": …, "load_s": …} or {"error": …}, and with one for each
line read, the seconds of each call. `compare.py` is what talks to it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], list[Any]]  # one inference
WARM_UP = 3  # calls of each turn that do not count, at least
LEAST = 5  # calls that do


def graphc(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    import graphc

    compiled = graphc.compile(model, backend="llvm", threads=threads)
    arrays = [feeds[p.name] for p in compiled.inputs]
    single = len(compiled.outputs) == 1
    return [p.name for p in compiled.outputs], lambda: [compiled(*arrays)] if single else list(compiled(*arrays))


def onnxruntime(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [o.name for o in session.get_outputs()], lambda: session.run(None, feeds)


def openvino(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)
    request = compiled.create_infer_request()

    def run() -> list[Any]:
        return list(request.infer(feeds, share_inputs=True, share_outputs=True).values())

    return [o.any_name for o in compiled.outputs], run


def mnn(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    converted = model + ".mnn"
    if not Path(converted).exists():
        tool = Path(sys.executable).parent / "mnnconvert"
        command = [str(tool), "-f", "ONNX", "--modelFile", model, "--MNNModel", converted, "--bizCode", "graphc"]
        code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        if code:
            raise RuntimeError(f"mnnconvert ended with status {code}")
    engine = importlib.import_module("MNN")
    interpreter = engine.Interpreter(converted)
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": threads})
    caffe, kinds = engine.Tensor_DimensionType_Caffe, {"f": engine.Halide_Type_Float, "i": engine.Halide_Type_Int}
    given = []
    for name, x in feeds.items():
        x = x.astype(np.int32) if x.dtype.kind == "i" else x
        place = interpreter.getSessionInput(session, name)
        interpreter.resizeTensor(place, x.shape)
        given.append((place, engine.Tensor(x.shape, kinds[x.dtype.kind], x, caffe)))
    interpreter.resizeSession(session)
    outputs = interpreter.getSessionOutputAll(session)
    empty = {n: np.zeros(o.getShape(), np.float32) for n, o in outputs.items()}
    taken = {n: engine.Tensor(x.shape, engine.Halide_Type_Float, x, caffe) for n, x in empty.items()}

    def run() -> list[Any]:
        for place, tensor in given:
            place.copyFrom(tensor)
        interpreter.runSession(session)
        for n, o in outputs.items():
            o.copyToHostTensor(taken[n])
        return [t.getNumpyData() for t in taken.values()]

    return list(outputs), run


PACKAGES = {"eager": "torch", "compile": "torch"}  # whose version an engine's is, where it has another name
ENGINES = {"graphc": graphc, "onnxruntime": onnxruntime, "openvino": openvino, "MNN": mnn}


def serve(engines: Mapping[str, Callable[[str, dict[str, Any], int], tuple[list[str], Run]]]) -> None:
    """Be the engine that the command line names, until there is nothing more to read."""
    engine, model, feeds_path, results_path, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print goes elsewhere

    def answer(content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        with np.load(feeds_path) as stored:
            feeds = dict(stored)
        start = time.perf_counter()
        names, run = engines[engine](model, feeds, int(threads))
        results = run()
        loaded = time.perf_counter() - start
        np.savez(results_path, **{n: np.array(y) for n, y in zip(names, results, strict=True)})
    except Exception as e:  # whatever another engine raises: it is the answer
        answer({"error": f"{type(e).__name__}: {e}"})
        return
    answer({"version": version(PACKAGES.get(engine, engine)), "load_s": loaded})
    for line in sys.stdin:
        seconds = float(line)
        answer(times(run, seconds))


def times(run: Run, seconds: float) -> list[float]:
    """The seconds of each call, made for about so many seconds after a tenth of that to warm up."""
    clock = time.perf_counter
    start, count = clock(), 0
    while count < WARM_UP or clock() - start < seconds / 10:
        run()
        count += 1
    found: list[float] = []
    begin = now = clock()
    while len(found) < LEAST or now - begin < seconds:
        start = clock()
        run()
        now = clock()
        found.append(now - start)
    return found


if __name__ == "__main__":
    serve(ENGINES)
