from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropdeploy.releases.removal import DIRECTORY_FLAGS, remove_entry


@contextmanager
def ordinary_user(*owned: Path) -> Iterator[None]:
    """Root may do anything: tests of permissions step down for a while. Others are ordinary already."""
    if os.geteuid() != 0:
        yield
        return
    for path in owned:
        for directory, _, files in os.walk(path):
            for name in (directory, *(f"{directory}/{file}" for file in files)):
                os.chown(name, 65534, 65534, follow_symlinks=False)
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, DIRECTORY_FLAGS)
    yield fd
    os.close(fd)


def test_what_does_not_exist(parent: int) -> None:
    remove_entry(parent, b"nothing")


def test_files_links_and_directories(parent: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("outside")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").touch()
    (tree / "a/link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    for name in (b"file", b"link", b"tree"):
        remove_entry(parent, name)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").exists()


def test_directories_that_forbid_it(parent: int, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("unreadable/x", "unwritable/x", "nothing/x", "nothing/y/z"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).mkdir()
    (tree / "unwritable/file").touch()
    for name, mode in [("unreadable", 0o300), ("unwritable", 0o500), ("nothing/y", 0), ("nothing", 0), ("", 0o500)]:
        (tree / name).chmod(mode)
    with ordinary_user(tmp_path):
        remove_entry(parent, b"tree")
    assert not tree.exists()


def test_deep_trees(parent: int, tmp_path: Path) -> None:
    fd = os.open(tmp_path, DIRECTORY_FLAGS)
    for name in ["tree"] + ["d" * 50] * 1500:
        os.mkdir(name, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT, dir_fd=fd))
        inner = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    (tmp_path / "file").unlink()
    remove_entry(parent, b"tree")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_removed(parent: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "tree").mkdir()
    (tmp_path / "file").touch()
    if os.geteuid() == 0:
        with ordinary_user():
            for name in (b"file", b"tree"):
                with pytest.raises(PermissionError):
                    remove_entry(parent, name)
    else:
        tmp_path.chmod(0o555)
        for name in (b"file", b"tree"):
            with pytest.raises(PermissionError):
                remove_entry(parent, name)
        tmp_path.chmod(0o755)
