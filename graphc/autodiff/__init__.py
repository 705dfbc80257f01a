"""Reverse-mode differentiation as a graph transform."""

from graphc.autodiff.gradient import grad, stop_gradient

__all__ = ["grad", "stop_gradient"]
