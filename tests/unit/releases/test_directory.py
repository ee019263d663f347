"""Uploaded directories: the same rules as for archives, and nothing shared with the uploader."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dropdeploy.releases import directory as directory_module
from dropdeploy.releases.refusal import CHANGED, TOO_LARGE, UNREADABLE, UNSAFE, UNSUPPORTED, Refusal
from dropdeploy.releases.tree import Tree
from dropdeploy.releases.unpacker import Job, run
from tests.unit.releases.archives import Snapshot, snapshot
from tests.unit.releases.test_removal import ordinary_user


class Copy:
    """An upload, and what is made of it."""

    def __init__(self, path: Path) -> None:
        self.upload = path / "upload"
        self.root = path / "staging"
        self._path = path
        self._count = 0
        self.upload.mkdir(mode=0o2770)
        self.done: dict[str, object] = {}

    def run(self, **limits: int) -> Snapshot | Refusal:
        self._count += 1
        self.root = self._path / f"staging-{self._count}"
        self.root.mkdir()
        source, staging = os.open(self.upload, os.O_RDONLY), os.open(self.root, os.O_RDONLY)
        limits = {"max_bytes": 1 << 30, "max_entries": 1000, **limits}
        tree = Tree(staging, **limits)
        job = {"source": source, "staging": staging, "tap": None, "format": "/", "size": 0, "strip": 3, "beyond": []}
        old = os.umask(0)
        try:
            self.done = run(Job(json.dumps({**job, **limits})), tree, lambda count: None)
        except Refusal as refusal:
            return refusal
        finally:
            os.umask(old)
            tree.close()
            os.close(source)
            os.close(staging)
        return snapshot(self.root)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_directory(copy: Copy) -> None:
    (copy.upload / "bin").mkdir(mode=0o700)
    (copy.upload / "bin/run").write_text("#!/bin/sh\n")
    (copy.upload / "bin/run").chmod(0o6755)
    (copy.upload / "index.html").write_bytes(b"x" * 3_000_000)
    (copy.upload / "index.html").chmod(0o600)
    os.utime(copy.upload / "index.html", (1_600_000_000, 1_600_000_000))
    (copy.upload / ".hidden").touch(mode=0o666)
    (copy.upload / "link").symlink_to("bin/run")
    os.link(copy.upload / "index.html", copy.upload / "hard")
    found = copy.run()
    assert isinstance(found, dict)
    assert {name: (kind, mode) for name, (kind, mode, _) in found.items()} == {
        ".hidden": ("f", 0o644),
        "bin": ("d", 0o750),
        "bin/run": ("f", 0o755),
        "hard": ("f", 0o640),
        "index.html": ("f", 0o640),
        "link": ("l", 0),
    }
    assert found["index.html"][2] == b"x" * 3_000_000
    assert (copy.root / "index.html").stat().st_mtime == 1_600_000_000
    assert stat.S_IMODE(copy.root.stat().st_mode) == 0o750
    assert copy.done == {
        "bytes": 6_000_010,
        "sha256": "",
        "entries": 6,
        "unpacked_bytes": 6_000_010,
        "is_sealed": True,
        "cloned_bytes": 0,
    }
    inodes = {path.lstat().st_ino for path in copy.upload.iterdir()}
    assert all(path.lstat().st_ino not in inodes and path.lstat().st_nlink < 3 for path in copy.root.iterdir())


@pytest.mark.parametrize(("target", "message"), [("/etc/passwd", "is absolute"), ("../../x", "leaves the release")])
def test_links_that_leave(target: str, message: str, copy: Copy) -> None:
    (copy.upload / "a").mkdir()
    (copy.upload / "a/link").symlink_to(target)
    refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert refusal.code == UNSAFE
    assert "'a/link'" in refusal.message
    assert message in refusal.message


def test_links_that_leave_through_others(copy: Copy) -> None:
    (copy.upload / "d").symlink_to(".")
    (copy.upload / "x").symlink_to("d/../y")
    refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert refusal.message.startswith("the symbolic link 'x' -> 'd/../y' leaves the release")


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_neither_file_nor_directory_nor_link(kind: str, copy: Copy) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "fifo":
            os.mkfifo(copy.upload / "odd")
        else:
            listening.bind(str(copy.upload / "odd"))
        refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message) == (UNSAFE, "entry 'odd' is a device, FIFO or socket")


def test_limits(copy: Copy) -> None:
    for number in range(10):
        (copy.upload / str(number)).write_bytes(b"x" * 100)
    refusal = copy.run(max_bytes=999)
    assert isinstance(refusal, Refusal)
    assert refusal.code == TOO_LARGE


def test_too_many_entries(copy: Copy) -> None:
    for number in range(10):
        (copy.upload / str(number)).touch()
    refusal = copy.run(max_entries=10)  # the directory itself is one, too
    assert isinstance(refusal, Refusal)
    assert refusal.code == TOO_LARGE


def test_too_deep(copy: Copy) -> None:
    path = copy.upload
    for _ in range(101):
        path = path / "d"
        path.mkdir()
    refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert refusal.code == TOO_LARGE


def test_an_empty_directory(copy: Copy) -> None:
    refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message) == (UNSUPPORTED, "the upload holds nothing to deploy")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_the_agent_may_not_read(kind: str, copy: Copy, tmp_path: Path) -> None:
    secret = copy.upload / "secret"
    secret.touch(mode=0o600) if kind == "file" else secret.mkdir()
    secret.chmod(0)
    copy.root.mkdir()
    source, staging = os.open(copy.upload, os.O_RDONLY), os.open(copy.root, os.O_RDONLY)
    with ordinary_user(tmp_path), pytest.raises(Refusal) as caught:
        directory_module.copy_directory(source, Tree(staging, max_bytes=1000, max_entries=1000))
    os.close(source)
    os.close(staging)
    secret.chmod(0o700)
    assert caught.value.code == UNREADABLE
    assert caught.value.message == "'secret' cannot be read (Permission denied)"


def refused_sooner_or_later(copy: Copy, change: Callable[[], None]) -> Refusal:
    """What a copy is refused for while ``change`` goes on in another thread. Not each copy need meet a change."""
    done, started = threading.Event(), threading.Event()

    def go_on() -> None:
        while not done.is_set():
            change()
            started.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    started.wait()
    try:
        for _ in range(100):
            refusal = copy.run()
            if isinstance(refusal, Refusal):
                return refusal
    finally:
        done.set()
        thread.join()
    raise AssertionError("no change was noticed")


def test_files_that_grow_meanwhile(copy: Copy) -> None:
    (copy.upload / "growing").write_bytes(bytes(8 << 20))

    def grow() -> None:
        with (copy.upload / "growing").open("ab") as file:
            file.write(b"x")

    refusal = refused_sooner_or_later(copy, grow)
    assert (refusal.code, refusal.message) == (CHANGED, "'growing' changed while it was copied")


def test_names_that_come_and_go_meanwhile(copy: Copy) -> None:
    for number in range(100):
        (copy.upload / f"a{number}").touch()

    def flicker() -> None:
        (copy.upload / "b").touch()
        (copy.upload / "b").unlink()

    assert refused_sooner_or_later(copy, flicker).code == CHANGED


class Meddled(Tree):
    """While the copy of one entry begins, somebody changes another one."""

    at_entry = b""
    meddle: Callable[[], None]

    def create(self, name: bytes, mode: int, size: int) -> int | None:
        if name == self.at_entry:
            self.meddle()
        return super().create(name, mode, size)


@pytest.mark.parametrize("changed", ["one", "two"])
def test_the_next_build_over_the_one_that_is_copied(copy: Copy, changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the one and half of the other: each file was the same before and after its own copy."""
    for name in ("one", "two", "three"):
        (copy.upload / name).write_text("first build")

    def overwrite() -> None:
        with (copy.upload / changed).open("r+") as file:  # in place, as sftp does: the directory does not change
            file.write("second")

    monkeypatch.setattr(Meddled, "at_entry", b"three")
    monkeypatch.setattr(Meddled, "meddle", staticmethod(overwrite), raising=False)
    monkeypatch.setitem(globals(), "Tree", Meddled)
    refusal = copy.run()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message) == (CHANGED, f"'{changed}' changed while it was copied")
