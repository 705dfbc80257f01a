"""Passes: functions from graph to graph. `manager.optimize` runs a pipeline of them; each pass has a file of its own.

To add a rule, write it in the file of its pass with the equation, a `before:` and an `after:` in its docstring, put it
into that file's `RULES`, and give `tests/refusals.py` a graph on which it must not fire. A new pass also needs its
line, with the reason for its place, in `pipelines.py`.
"""
