"""Rows of the conformance table, one module for each op family. Each module defines `CASES: list[Case]`."""
