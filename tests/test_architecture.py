"""The shape of the code base: who may import whom, what files may look like. Sources are parsed, never run."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The core, bottom to top: a unit (a module or package directly under graphc/) imports its own layer and those listed
# before it, never one listed after. Units of one layer may import each other as long as no circle comes of it.
LAYERS: list[tuple[str, set[str]]] = [
    (
        "facts that know nothing of graphs",
        {"errors", "names", "types", "limits", "debug", "dims", "cpu", "parallel", "frozen", "scanner"},
    ),
    (
        "the two languages: the graph and scalar index expressions",
        {"ir", "index", "expr", "traverse", "show", "equality"},
    ),
    (
        "evaluation with NumPy, which ops with bodies need too, and what compares evaluations",
        {"interpret", "random", "difference"},
    ),
    ("the vocabulary: each op's types, semantics, gradient, cost and element", {"ops"}),
    (
        "what reads, prints, checks or rewrites a graph",
        {"text", "parse", "verifier", "passes", "autodiff", "loops"},
    ),
    ("running a graph: backends, compiled models, feeds, profiles", {"runtime"}),
    ("training loops: they drive compiled models from the host", {"train"}),
    ("the public names, no logic", {"__init__"}),
    ("commands", {"cli", "__main__"}),
]

# Folders on top of the core, each a stranger to the other two; the core finds them through entry points.
OUTER = ("frontends", "backends", "models")
PACKAGES = {"graphc": "graphc"} | {f"graphc.{folder}": folder for folder in OUTER}

# Packages that may be missing, or are slow to import: the only ones imported inside functions.
OPTIONAL = {"llvmlite", "networkx", "onnxruntime", "cuda", "matplotlib", "PIL", "re2"}

# Packages that only one place may know.
ONLY_IN = {"llvmlite": "backends/codegen/"}

# Who may touch the process environment, and which variables (None: any).
ENVIRONMENT: dict[str, set[str] | None] = {
    "graphc/debug.py": None,  # the one reader of GRAPHC_*
    "backends/onnxruntime/": {"ORT_DISABLE_TELEMETRY"},  # must be set before the import
}

MAX_LINES = 600


@dataclass(frozen=True)
class Import:
    """One imported module, made absolute; `relative` where it was written with dots."""

    line: int
    module: str
    names: tuple[str, ...]
    relative: bool
    in_function: bool


class Imports(ast.NodeVisitor):
    """Collect the imports of the module `package.….name`, without those for type checkers only."""

    def __init__(self, module: str, *, is_package: bool) -> None:
        self.module, self.is_package, self.depth = module, is_package, 0
        self.found: list[Import] = []

    def visit_If(self, node: ast.If) -> None:
        for_type_checkers = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in node.orelse if for_type_checkers else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.found.append(Import(node.lineno, alias.name, (), False, self.depth > 0))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            parts = self.module.split(".")
            base = parts[: len(parts) - node.level + self.is_package]
            module = ".".join([*base, *filter(None, [module])])
        names = tuple(alias.name for alias in node.names)
        self.found.append(Import(node.lineno, module, names, node.level > 0, self.depth > 0))


def module_name(path: str) -> str:
    """backends/llvm/emit.py -> graphc.backends.llvm.emit"""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts if parts[0] == "graphc" else ["graphc", *parts])


@cache  # five tests ask for all of them
def imports_of(path: str, source: str) -> list[Import]:
    visitor = Imports(module_name(path), is_package=path.endswith("/__init__.py"))
    visitor.visit(ast.parse(source, path))
    return visitor.found


@cache
def files(*folders: str) -> dict[str, str]:
    """Path relative to the root -> text, of each Python file in `folders`."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in found}


def sources() -> dict[str, str]:
    return files("graphc", *OUTER)


def report(problems: Iterator[str]) -> None:
    found = list(problems)
    assert not found, "\n" + "\n".join(found)


def rank(unit: str) -> int | None:
    return next((i for i, (_, units) in enumerate(LAYERS) if unit in units), None)


def unit_of(path: str) -> str:
    return path.removesuffix(".py").split("/")[1]


def units_imported(item: Import) -> set[str]:
    """The units of the core that an import reaches; `from graphc import x` reaches x, or else the package itself."""
    top, _, rest = item.module.partition(".")
    if top != "graphc":
        return set()
    if rest:
        return {rest.split(".")[0]}
    known = set(OUTER).union(*(units for _, units in LAYERS))
    return {name if name in known else "__init__" for name in item.names} or {"__init__"}


def layer_problems(path: str, source: str) -> Iterator[str]:
    """A file of the core imports downward only."""
    own = rank(unit_of(path))
    if own is None:
        yield f"{path}: {unit_of(path)!r} is in no layer; add it to LAYERS"
        return
    for item in imports_of(path, source):
        for unit in sorted(units_imported(item)):
            where = f"{path}:{item.line}"
            if unit in OUTER:
                yield f"{where}: the core imports graphc.{unit}; find it through its entry point"
            elif (other := rank(unit)) is None:
                yield f"{where}: 'graphc.{unit}' is in no layer; add it to LAYERS"
            elif other > own:
                yield f"{where}: {unit_of(path)!r} ({LAYERS[own][0]}) imports upward: {unit!r} ({LAYERS[other][0]})"


def outer_problems(path: str, source: str) -> Iterator[str]:
    """A file of an outer folder imports the core absolutely, its own folder relatively, the other folders never."""
    own = path.split("/")[0]
    for item in imports_of(path, source):
        where = f"{path}:{item.line}"
        if item.relative and f"{item.module}.".startswith(f"graphc.{own}."):
            continue
        if item.relative:
            yield f"{where}: relative import leaves {own}/; import the core as graphc.…"
        if item.module.split(".")[0] in OUTER:
            yield f"{where}: {item.module!r} is not importable once installed"
        for unit in sorted(units_imported(item) & set(OUTER)):
            how = "relatively" if unit == own else "not at all"
            yield f"{where}: imports graphc.{unit}; from {own}/ import it {how}"


def function_import_problems(path: str, source: str) -> Iterator[str]:
    for item in imports_of(path, source):
        if item.in_function and item.module.split(".")[0] not in OPTIONAL:
            yield f"{path}:{item.line}: import of {item.module!r} inside a function; only optional packages may"


def only_in_problems(path: str, source: str) -> Iterator[str]:
    for item in imports_of(path, source):
        home = ONLY_IN.get(item.module.split(".")[0])
        if home is not None and not path.startswith(home):
            yield f"{path}:{item.line}: import of {item.module!r} outside {home}"


def environment_problems(path: str, source: str) -> Iterator[str]:
    allowed = next((names for place, names in ENVIRONMENT.items() if path.startswith(place)), set())
    if allowed is None:
        return
    tree = ast.parse(source, path)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names}:
            yield f"{path}:{node.lineno}: takes the environment from os; only {', '.join(ENVIRONMENT)} may"
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "os":
            variable = variable_used(node, parents)
            if variable not in allowed:
                yield f"{path}:{node.lineno}: uses {ast.unparse(node)} ({variable or 'no one variable'})"


def variable_used(node: ast.Attribute, parents: dict[ast.AST, ast.AST]) -> str | None:
    """os.environ["X"], os.environ.get("X"), os.getenv("X") -> X"""
    above: ast.AST | None = parents.get(node)
    if isinstance(above, ast.Attribute):
        above = parents.get(above)
    key = above.slice if isinstance(above, ast.Subscript) else None
    if isinstance(above, ast.Call) and above.args:
        key = above.args[0]
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None


def test_the_core_imports_downward_only():
    report(line for path, text in files("graphc").items() for line in layer_problems(path, text))


def test_no_circle_within_the_core():
    needs: dict[str, set[str]] = {}
    for path, text in files("graphc").items():
        unit = unit_of(path)
        needs.setdefault(unit, set()).update(*(units_imported(item) - {unit} for item in imports_of(path, text)))
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail("modules import each other in a circle: " + " -> ".join(reversed(error.args[1])), pytrace=False)


def test_outer_folders_keep_to_the_core_and_themselves():
    report(line for path, text in files(*OUTER).items() for line in outer_problems(path, text))


def test_only_optional_packages_are_imported_inside_functions():
    report(line for path, text in sources().items() for line in function_import_problems(path, text))


def test_llvmlite_has_one_importer():
    report(line for path, text in sources().items() for line in only_in_problems(path, text))


def test_only_debug_reads_the_environment():
    report(line for path, text in sources().items() for line in environment_problems(path, text))


def test_files_are_short():
    every = files("graphc", *OUTER, "tests", "benchmarks").items()
    lengths = ((path, len(text.splitlines())) for path, text in every)
    report(f"{path}: {lines} lines; split it" for path, lines in lengths if lines > MAX_LINES)


def test_every_folder_with_code_is_a_package_that_gets_installed():
    # setup.py finds packages by their __init__.py, in the folders of `package-dir`.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert settings["package-dir"] == PACKAGES
    folders = {parent for path in sources() for parent in Path(path).parents if parent != Path(".")}
    bare = (folder for folder in sorted(folders) if not (ROOT / folder / "__init__.py").is_file())
    report(f"{folder}/ has no __init__.py" for folder in bare)


MUST_FIRE = [
    (layer_problems, "graphc/types.py", "from graphc.ir import Graph", "imports upward: 'ir'"),
    (layer_problems, "graphc/types.py", "from .ir import Graph", "imports upward: 'ir'"),
    (layer_problems, "graphc/passes/fuse.py", "from ..runtime import cache", "imports upward: 'runtime'"),
    (layer_problems, "graphc/passes/__init__.py", "from .. import runtime", "imports upward: 'runtime'"),
    (layer_problems, "graphc/ir.py", "from graphc import compile", "imports upward: '__init__'"),
    (layer_problems, "graphc/cli/run.py", "import graphc.backends.numpy", "entry point"),
    (layer_problems, "graphc/novelty.py", "", "no layer"),
    (outer_problems, "backends/llvm/emit.py", "from ...frontends import onnx", "relative import leaves"),
    (outer_problems, "backends/llvm/emit.py", "from ...ir import Graph", "relative import leaves"),
    (outer_problems, "backends/llvm/emit.py", "from graphc.models import zoo", "not at all"),
    (outer_problems, "backends/llvm/emit.py", "from graphc import backends", "relatively"),
    (outer_problems, "backends/llvm/emit.py", "from backends import codegen", "not importable"),
    (function_import_problems, "graphc/ir.py", "def f():\n    import numpy", "inside a function"),
    (only_in_problems, "backends/llvm/jit.py", "from llvmlite import ir", "outside backends/codegen/"),
    (environment_problems, "graphc/ir.py", "import os\nos.environ['X']", "os.environ (X)"),
    (environment_problems, "graphc/ir.py", "import os\nos.getenv('X')", "os.getenv (X)"),
    (environment_problems, "graphc/ir.py", "from os import environ", "takes the environment"),
    (environment_problems, "backends/onnxruntime/x.py", "import os\nos.environ['X'] = '1'", "os.environ (X)"),
]

MUST_PASS = [
    (layer_problems, "graphc/ir.py", "from graphc.types import Dim\nfrom .errors import GraphcError"),
    (layer_problems, "graphc/ir.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .ops import Op"),
    (
        layer_problems,
        "graphc/passes/fuse.py",
        "from .manager import run\nfrom ..ir import Graph\nfrom ..text import show",
    ),
    (layer_problems, "graphc/__init__.py", "from .runtime import compile"),
    (
        outer_problems,
        "backends/llvm/emit.py",
        "from graphc.ir import Graph\nfrom ..codegen import emit\nfrom . import jit",
    ),
    (outer_problems, "backends/__init__.py", "from .numpy import NumpyBackend"),
    (function_import_problems, "backends/gpu/driver.py", "def f():\n    from cuda.bindings import driver"),
    (only_in_problems, "backends/codegen/emit.py", "import llvmlite.ir"),
    (environment_problems, "graphc/debug.py", "import os\nos.environ.get('GRAPHC_DEBUG')"),
    (
        environment_problems,
        "backends/onnxruntime/x.py",
        "import os\nos.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')",
    ),
]


@pytest.mark.parametrize(("check", "path", "source", "message"), MUST_FIRE)
def test_rule_fires(check, path, source, message):
    assert any(message in line for line in check(path, source)), list(check(path, source))


@pytest.mark.parametrize(("check", "path", "source"), MUST_PASS)
def test_rule_does_not_fire(check, path, source):
    assert not list(check(path, source))
