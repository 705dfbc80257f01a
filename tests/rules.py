"""Every pass and every rule, and the listings in their docstrings: `before:` and `after:`."""

from __future__ import annotations

import importlib
import pkgutil
import re
import textwrap
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np

from graphc import passes
from graphc.ir import Graph
from graphc.parse import parse
from graphc.passes.fold_constants import fold_constants
from graphc.passes.rewrite import Rule, rewrite
from graphc.types import BY_SHORT


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"graphc.passes.{m.name}") for m in pkgutil.iter_modules(passes.__path__)]


def all_rules() -> dict[str, Rule]:
    """Name -> rule, of every module of `graphc.passes`."""
    found = [rule for module in modules() for rule in getattr(module, "RULES", ())]
    assert len({rule.name for rule in found}) == len(found), "two rules have one name"
    return {rule.name: rule for rule in found}


def documented_passes() -> dict[str, Callable[[Graph], Graph]]:
    """Name -> pass, of every pass whose own docstring has listings."""
    found = {}
    for module in modules():
        name = module.__name__.rpartition(".")[2]
        function = getattr(module, name, None)
        if function is not None and "before:" in (function.__doc__ or ""):
            found[name] = function
    return found


def apply(rule: Rule) -> Callable[[Graph], Graph]:
    """The pass that applies one rule, and folds the constants that it computes."""
    return lambda graph: fold_constants(rewrite(graph, [rule]))


def listings(doc: str) -> tuple[str, str]:
    """The two listings of a docstring."""
    text = textwrap.dedent(doc.partition("\n")[2])
    match = re.search(r"^before:\n(.*?)^after:\n(.*?^    \}$)", text, re.DOTALL | re.MULTILINE)
    assert match is not None, "the docstring needs 'before:' and 'after:' with a listing each"
    return textwrap.dedent(match[1]).strip(), textwrap.dedent(match[2]).strip()


def parse_with_weights(text: str, given: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph of a listing; weights that it names and that are not given are random and positive."""
    weights = dict(given or {})
    for short, shape, name in re.findall(r": (\w+)\[([\d,]*)\] = const @([\w.]+)", text):
        if name not in weights:
            sizes = [int(n) for n in shape.split(",") if n]
            rng = np.random.default_rng([len(name), *name.encode()])
            weights[name] = rng.uniform(0.25, 1.0, sizes).astype(BY_SHORT[short].numpy)
    return parse(text, weights)


def shown_like(text: str, expected: str) -> str:
    """`text` with those constants hidden behind `@name` that `expected` hides."""
    for name in re.findall(r"const @([\w.]+)", expected):
        text = re.sub(rf"(%{re.escape(name)}: [^=]+ = const ).*", rf"\1@{name}", text)
    return text
