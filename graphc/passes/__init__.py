"""Passes: functions from graph to graph. `optimize` runs a pipeline of them; each pass has a file of its own."""
