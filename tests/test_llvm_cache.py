"""The compile cache on disk: who may use it, and what becomes of entries that are not what they should be."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import stat
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import models
from graphc.backends.codegen import cache
from graphc.backends.codegen.cache import CacheWarning, Store
from graphc.backends.codegen.jit import compile_object
from graphc.backends.codegen.target import host_target

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def entry(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


class TestStore:
    def test_round_trip(self, folder: Path):
        store = Store(folder)
        assert store.get(b"key") is None
        store.put(b"key", b"content")
        assert store.get(b"key") == b"content"
        assert Store(folder).get(b"key") == b"content"
        assert (store.counters.hits, store.counters.misses) == (1, 1)

    @posix
    def test_only_the_owner_has_access(self, folder: Path):
        folder.mkdir(mode=0o777)
        Store(folder).put(b"key", b"content")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o600

    @posix
    def test_a_folder_of_another_user(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        Store(folder).put(b"key", b"content")
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.warns(CacheWarning, match="belongs to another user"):
            store = Store(folder)
        assert store.get(b"key") is None
        store.put(b"other", b"content")
        assert len(list(folder.iterdir())) == 1

    @posix
    def test_a_link_is_not_followed(self, folder: Path, tmp_path: Path):
        store = Store(folder)
        store.put(b"key", b"content")
        entry(folder).rename(tmp_path / "elsewhere")
        (folder / f"{hashlib.sha256(b'key').hexdigest()}.o").symlink_to(tmp_path / "elsewhere")
        with pytest.warns(CacheWarning, match="cannot be read"):
            assert store.get(b"key") is None

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "text"])
    def test_a_damaged_entry_is_made_again(self, folder: Path, damage: str):
        store = Store(folder)
        store.put(b"key", b"content")
        path = entry(folder)
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[-1] ^= 1
        path.write_bytes({"flip": data, "cut": data[:-3], "empty": b"", "longer": data + b"x"}.get(damage, b"hello"))
        with pytest.warns(CacheWarning, match="damaged"):
            assert store.get(b"key") is None
        with warnings.catch_warnings():  # said once
            warnings.simplefilter("error")
            assert store.get(b"key") is None
        store.put(b"key", b"content")
        assert store.get(b"key") == b"content"

    def test_the_whole_key_is_compared(self, folder: Path):
        store = Store(folder)
        store.put(b"key", b"content")
        entry(folder).rename(folder / f"{hashlib.sha256(b'other').hexdigest()}.o")
        assert store.get(b"other") is None

    def test_a_full_disk(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        store = Store(folder)

        def fail(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as m:
            m.setattr(os, "replace", fail)
            with pytest.warns(CacheWarning, match="No space left"):
                store.put(b"key", b"content")
        assert not list(folder.iterdir())

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.warns(CacheWarning, match="cannot be used"):
            store = Store(tmp_path / "file" / "cache")
        store.put(b"key", b"content")
        assert store.get(b"key") is None

    def test_the_folder_vanishes(self, folder: Path):
        store = Store(folder)
        folder.rmdir()
        assert store.get(b"key") is None
        with pytest.warns(CacheWarning):
            store.put(b"key", b"content")

    def test_the_least_recently_used_goes(self, folder: Path):
        store = Store(folder, max_bytes=10_000)
        for i in range(9):
            store.put(b"%d" % i, bytes(1000))
            os.utime(max(folder.iterdir(), key=lambda p: p.stat().st_mtime), (i, i))
        store.get(b"0")
        store.put(b"new", bytes(1500))
        assert store.get(b"0") is not None
        assert store.get(b"new") is not None
        assert store.get(b"1") is None
        assert sum(p.stat().st_size for p in folder.iterdir()) <= 10_000

    def test_what_dead_writers_left_is_removed(self, folder: Path):
        store = Store(folder)
        old, fresh = folder / "a.1.tmp", folder / "b.2.tmp"
        for path in (old, fresh):
            path.write_bytes(b"x")
        os.utime(old, (0, time.time() - 1e5))
        store.put(b"key", b"content")
        assert not old.exists()
        assert fresh.exists()

    def test_many_processes_write_at_once(self, folder: Path):
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            assert all(pool.map(write_and_read, [(folder, i) for i in range(8)]))
        assert not [p for p in folder.iterdir() if p.suffix == ".tmp"]


def write_and_read(task: tuple[Path, int]) -> bool:
    folder, _ = task
    store = Store(folder)
    for i in range(100):
        key = b"%d" % (i % 3)
        store.put(key, key * 10_000)
        if store.get(key) != key * 10_000:
            return False
    return True


ADD = "define i64 @add(i64 %a, i64 %b) {\n %c = add i64 %a, %b\n ret i64 %c\n}\n"


class TestCompiling:
    @pytest.fixture(autouse=True)
    def own_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GRAPHC_CACHE", str(folder))

    def test_code_is_found_again(self):
        first = compile_object(ADD, host_target())
        assert compile_object(ADD, host_target()) == first
        store = cache.store()
        assert store is not None
        assert (store.counters.hits, store.counters.misses) == (1, 1)

    def test_other_instructions_are_other_code(self, folder: Path):
        compile_object(ADD, host_target())
        compile_object(ADD, host_target("x86-64-v2"))
        assert len(list(folder.iterdir())) == 2

    def test_off(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("GRAPHC_CACHE", "off")
        assert compile_object(ADD, host_target())
        assert not folder.exists()

    def test_a_model_in_another_process(self, folder: Path):
        script = """
            import sys
            import numpy as np
            import graphc
            from graphc import models
            from graphc.backends.codegen import cache

            model = graphc.compile(models.lenet5(), backend="llvm")
            sys.stdout.write(model(np.ones((1, 1, 28, 28), np.float32)).tobytes().hex())
            sys.stderr.write(f"{cache.store().counters}")
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = [subprocess.run(command, capture_output=True, text=True, timeout=60) for _ in range(2)]
        assert done[0].stdout == done[1].stdout
        assert "hits=0" in done[0].stderr
        assert "misses=0" in done[1].stderr

    def test_a_model_with_damaged_entries(self, folder: Path):
        x = np.ones((1, 1, 28, 28), np.float32)
        want = graphc.compile(models.lenet5(), backend="llvm")(x)
        for path in folder.iterdir():
            path.write_bytes(b"\x7fELF" + bytes(100))
        with pytest.warns(CacheWarning):
            again = graphc.compile(models.lenet5(), backend="llvm")
        assert again(x).tobytes() == want.tobytes()


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("GRAPHC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert graphc.debug.cache_dir() == tmp_path / "graphc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert graphc.debug.cache_dir() == tmp_path / ".cache" / "graphc"
