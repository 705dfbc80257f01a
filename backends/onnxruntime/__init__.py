"""ONNX Runtime as a backend: the oracle that results are held against."""

from .backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
