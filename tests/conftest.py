"""Fixtures and settings shared by every test: golden files and Hypothesis profiles."""

import difflib
import gc
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

# What tests share says what was compared where it was not the same, as tests do.
pytest.register_assert_rewrite(
    "conformance",
    "conformance_checks",
    "conformance_native",
    "conformance_saved",
    "gradient_checks",
    "official",
    "official_saved",
)

# Both profiles are deterministic: a run tells about the code, not about the day. HYPOTHESIS_PROFILE=thorough looks
# longer.
COMMON = {"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=50, **COMMON)
settings.register_profile("thorough", max_examples=2000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell that starts the tests in the background has them ignore Ctrl-C, and Python would leave it so.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the golden files with what the tests produce now")


def pytest_configure(config: pytest.Config) -> None:
    """A run has a compile cache of its own, which its processes share: many tests need the same kernels.

    Nothing is read from the user's cache or left there. Tests about the cache have folders of their own.
    """
    if not hasattr(config, "workerinput"):
        os.environ["GRAPHC_CACHE"] = tempfile.mkdtemp(prefix="graphc-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["GRAPHC_CACHE"], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is collected stays until the end: the garbage collector need not go through it again and again."""
    gc.disable()
    result = yield
    gc.enable()
    gc.freeze()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first: at the end there are many short ones, with which all processes are busy as long."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """One report for a test where all is well: those of setting up and tearing down take longer than many a test."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def golden_path(test_file: Path, name: str) -> Path:
    """tests/loops/test_nest.py, "softmax" -> tests/golden/loops/nest/softmax.txt"""
    module = test_file.relative_to(TESTS).with_suffix("")
    folder = TESTS / "golden" / module.parent / module.name.removeprefix("test_")
    return folder / (re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-.") + ".txt")


def compare(path: Path, text: str, *, bless: bool) -> str | None:
    """Return what is wrong with the golden file at `path`, or None; with `bless`, make it right instead."""
    text = text.rstrip("\n") + "\n"
    shown = path.relative_to(TESTS.parent).as_posix() if path.is_relative_to(TESTS.parent) else path.as_posix()
    if not path.is_file():
        if not bless:
            return f"no golden file {shown}; read the text below, then write it with: pytest --bless\n\n{text}"
        expected = None
    else:
        expected = path.read_text("utf-8")
    if text == expected:
        return None
    if bless:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
        return None
    assert expected is not None
    lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), shown, "this run", lineterm="")
    diff = "\n".join(lines) or "(only the ends of lines differ)"
    return f"{shown} differs; if the new text is right: pytest --bless\n\n{diff}"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """golden(text, name=None): `text` equals tests/golden/<module>/<name, or the test's own name>.txt as a whole.

    Fails with a unified diff where it does not, and where there is no such file yet; `pytest --bless` writes the file.
    """
    seen: set[Path] = set()

    def check(text: str, name: str | None = None) -> None:
        __tracebackhide__ = True
        path = golden_path(request.path, name or request.node.name)
        if path in seen:
            pytest.fail(f"{path.name} is compared twice in one test; give each text a name: golden(text, name)")
        seen.add(path)
        problem = compare(path, text, bless=request.config.getoption("--bless"))
        if problem is not None:
            pytest.fail(problem, pytrace=False)

    return check
