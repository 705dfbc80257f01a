"""Reverse-mode differentiation as a graph transform."""

from graphc.autodiff.gradient import grad

__all__ = ["grad"]
