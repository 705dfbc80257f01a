"""onnx's own interface to runtimes (`onnx.backend.base`), so that its test suite and tools run graphc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from graphc.errors import FeedError, ModelError
from graphc.runtime.compile import compile
from graphc.runtime.model import CompiledModel

from .load import load


class GraphcBackendRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, model: CompiledModel):
        self._model = model
        self._outputs = namedtupledict("Outputs", [p.name for p in model.outputs])

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, as a tuple that also takes their names.

        Args:
            inputs: a list of arrays in the order of the model's inputs, a dict by name, or one array.
            kwargs: none are known.

        Raises:
            FeedError: the inputs are not those that the model declares.
        """
        if not isinstance(inputs, (Mapping, list, tuple)):
            inputs = [inputs]
        feeds = dict(inputs) if isinstance(inputs, Mapping) else self._by_position(inputs)
        results: tuple[Any, ...] = self._outputs(*self._model.run(feeds).values())
        return results

    def _by_position(self, inputs: Sequence[Any]) -> dict[str, Any]:
        names = [p.name for p in self._model.inputs]
        if len(inputs) != len(names):
            raise FeedError(f"{len(inputs)} inputs given, the model takes {len(names)}: {names}")
        return dict(zip(names, inputs, strict=True))


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
        """Compile `model`; `backend` and the other keywords are those of `graphc.compile`. Raises `ModelError`."""
        return GraphcBackendRep(compile(load(model), **kwargs))

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
