"""Rewrites of older forms of an operator to its newest one."""
