"""graphc: a graph compiler and inference runtime for neural networks."""

from graphc.autodiff import grad, stop_gradient
from graphc.errors import (
    BackendUnavailable,
    CompileError,
    ExecutionError,
    ExternalDataError,
    FeedError,
    GraphcError,
    InvalidModel,
    ModelError,
    ResourceLimit,
    ShapeError,
    Timeout,
    TypeMismatch,
    UnsupportedOp,
    UnsupportedVersion,
    VerificationError,
)
from graphc.ir import Graph, Node, Value
from graphc.limits import Limits
from graphc.passes.manager import optimize
from graphc.passes.specialize import specialize
from graphc.runtime.compile import compile
from graphc.runtime.frontends import load, save
from graphc.runtime.model import CompiledModel
from graphc.runtime.verify import verify
from graphc.runtime.version import __version__
from graphc.types import (
    TensorType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    string,
    uint8,
    uint16,
    uint32,
    uint64,
)

__all__ = [
    "BackendUnavailable", "CompileError", "CompiledModel", "ExecutionError", "ExternalDataError", "FeedError", "Graph",
    "GraphcError", "InvalidModel", "Limits", "ModelError", "Node", "ResourceLimit", "ShapeError", "TensorType",
    "Timeout", "TypeMismatch", "UnsupportedOp", "UnsupportedVersion", "Value", "VerificationError", "__version__",
    "bfloat16", "bool_", "compile", "complex64", "complex128", "float16", "float32", "float64", "grad", "int8", "int16",
    "int32", "int64", "load", "optimize", "save", "specialize", "stop_gradient", "string", "uint8", "uint16", "uint32",
    "uint64", "verify",
]  # fmt: skip
