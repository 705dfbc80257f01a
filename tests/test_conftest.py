"""The golden fixture itself."""

from pathlib import Path

from conftest import TESTS, compare, golden_path

from graphc import debug


def test_golden_path_follows_the_module_and_the_sanitised_name():
    path = golden_path(TESTS / "loops" / "test_nest.py", "test_dump[f32[1,3]/x y]")
    assert path == TESTS / "golden" / "loops" / "nest" / "test_dump-f32-1-3-x-y.txt"


def test_missing_golden_file_fails_and_says_how_to_bless(tmp_path: Path):
    path = tmp_path / "deep" / "a.txt"
    problem = compare(path, "text", bless=False)
    assert problem is not None
    assert "pytest --bless" in problem
    assert not path.exists()
    assert compare(path, "text", bless=True) is None
    assert path.read_text("utf-8") == "text\n"
    assert compare(path, "text", bless=False) is None


def test_mismatch_shows_a_unified_diff_and_keeps_the_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    compare(path, "one\ntwo\n", bless=True)
    problem = compare(path, "one\n2\n", bless=False)
    assert problem is not None
    assert "-two\n+2" in problem
    assert path.read_text("utf-8") == "one\ntwo\n"
    assert compare(path, "one\n2\n", bless=True) is None
    assert path.read_text("utf-8") == "one\n2\n"


def test_a_run_has_a_compile_cache_of_its_own():
    assert debug.cache_dir().name.startswith("graphc-tests-")
    assert debug.cache_dir().is_dir()
