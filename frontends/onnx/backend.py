"""onnx's own interface to runtimes (`onnx.backend.base`), so that its test suite and tools run graphc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from graphc.errors import FeedError, ModelError
from graphc.interpret import Data, interpret
from graphc.ir import Graph
from graphc.types import OptionalType, SequenceType, Type

from .load import load


class GraphcBackendRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._outputs = namedtupledict("Outputs", list(graph.output_names))

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, as a tuple with their names.

        Args:
            inputs: a list of arrays in the order of the graph's inputs, a dict by name, or one array.
            kwargs: none are known.
        """
        names = [v.name for v in self._graph.inputs]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise FeedError(f"inputs {sorted(inputs)} given, the model has {names}")
            given = [inputs[name] for name in names]
        elif isinstance(inputs, (list, tuple)):
            given = list(inputs)
        else:
            given = [inputs]
        if len(given) != len(names):
            raise FeedError(f"{len(given)} inputs given, the model has {len(names)}: {names}")
        data = [_data(x, v.type) for x, v in zip(given, self._graph.inputs, strict=True)]
        return tuple(self._outputs(*interpret(self._graph, data)))


def _data(x: Any, type: Type) -> Data:
    """A feed in the form that `type` has inside graphc."""
    if x is None:
        return None
    if isinstance(type, OptionalType):
        return _data(x, type.element)
    if isinstance(type, SequenceType):
        return [_data(element, type.element) for element in x]
    return np.asarray(x, type.dtype.numpy) if type.dtype.kind == "string" else np.asarray(x)


class GraphcBackend(Backend):
    """graphc as an ONNX backend, on the CPU."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """True when graphc can load `model` and has the device."""
        if not cls.supports_device(device):
            return False
        try:
            load(model)
        except ModelError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> GraphcBackendRep:
        """Load `model`. Raises `ModelError`."""
        return GraphcBackendRep(load(model))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """The outputs of `model` for `inputs`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Sequence[Any],
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of a single node for `inputs`, in the newest opset or in `opset_version`."""
        given = [name for name in node.input if name]
        info = onnx.helper.make_tensor_value_info
        arrays = [np.asarray(x) for x in inputs]
        dtypes = [onnx.helper.np_dtype_to_tensor_dtype(x.dtype) for x in arrays]
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [info(name, dtype, x.shape) for name, dtype, x in zip(given, dtypes, arrays, strict=True)],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.run_model(model, arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """True for the CPU."""
        return bool(Device(device).type == DeviceType.CPU)


is_compatible = GraphcBackend.is_compatible
prepare = GraphcBackend.prepare
run = GraphcBackend.run_model
supports_device = GraphcBackend.supports_device
