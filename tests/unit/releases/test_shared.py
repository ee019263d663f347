from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.shared import link_shared

RELEASE = "releases/.staging-20260101-000000"


class Ground:
    """An app's directory and a release in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.release = path / RELEASE
        self.release.mkdir(parents=True)
        self._fds = [os.open(self.path, os.O_RDONLY), os.open(self.release, os.O_RDONLY)]

    def link(self, *entries: str) -> Fault | None:
        old = os.umask(0o077)
        try:
            return link_shared(self._fds[0], str(self.path), self._fds[1], entries, os.getegid())
        finally:
            os.umask(old)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path / "app")
    yield ground
    ground.close()


def shared(ground: Ground, name: str, text: str = "shared") -> Path:
    path = ground.path / "shared" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_and_directories(ground: Ground) -> None:
    shared(ground, ".env")
    shared(ground, "config/deep/secrets.yml")
    assert ground.link(".env", "config/deep/secrets.yml", "uploads/", "var/log/") is None
    assert (ground.release / ".env").readlink() == Path("../../shared/.env")
    assert (ground.release / "config/deep/secrets.yml").readlink() == Path("../../../../shared/config/deep/secrets.yml")
    for name in (".env", "config/deep/secrets.yml", "uploads", "var/log"):
        assert (ground.release / name).samefile(ground.path / "shared" / name)
    for name in ("uploads", "var", "var/log"):
        assert stat.S_IMODE((ground.path / "shared" / name).stat().st_mode) == 0o2775
    assert stat.S_IMODE((ground.release / "config").stat().st_mode) == 0o755


def test_repeating_it_changes_nothing(ground: Ground) -> None:
    shared(ground, ".env")
    for _ in range(2):
        assert ground.link(".env", "uploads/") is None
    assert (ground.path / "shared/uploads").is_dir()
    assert not list((ground.path / "shared/uploads").iterdir())


def test_shared_itself_is_made(ground: Ground) -> None:
    assert ground.link("uploads/") is None
    assert stat.S_IMODE((ground.path / "shared").stat().st_mode) == 0o755


def test_what_the_build_holds_there_makes_way(ground: Ground) -> None:
    shared(ground, ".env")
    (ground.release / ".env").write_text("from the build")
    (ground.release / "uploads/a").mkdir(parents=True)
    (ground.release / "uploads/a/b").touch()
    (ground.release / "log").symlink_to("uploads")
    assert ground.link(".env", "uploads/", "log/") is None
    assert (ground.release / ".env").read_text() == "shared"
    assert not list((ground.release / "uploads").iterdir())
    assert (ground.release / "log").readlink() == Path("../../shared/log")


def test_a_missing_file(ground: Ground) -> None:
    fault = ground.link(".env")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.SHARED_MISSING
    assert fault.message == f"the shared file {ground.path}/shared/.env does not exist"
    assert f"create {ground.path}/shared/.env" in fault.hint


def test_a_dangling_link_is_missing(ground: Ground) -> None:
    shared(ground, "x")
    (ground.path / "shared/.env").symlink_to("nowhere")
    fault = ground.link(".env")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.SHARED_MISSING


def test_a_file_where_a_directory_should_be(ground: Ground) -> None:
    shared(ground, "uploads")
    for entry in ("uploads/", "uploads/inner/"):
        fault = ground.link(entry)
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.SHARED_MISSING


def test_the_administrator_may_keep_shared_things_elsewhere(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "disk/uploads").mkdir(parents=True)
    (ground.path / "shared").symlink_to("../disk")
    (tmp_path / "large").mkdir()
    (tmp_path / "disk/media").symlink_to(tmp_path / "large")
    assert ground.link("uploads/", "media/", "new/") is None
    assert (tmp_path / "disk/new").is_dir()


def test_nothing_is_made_through_a_link_in_shared(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (ground.path / "shared").mkdir()
    (ground.path / "shared/var").symlink_to(tmp_path / "outside")
    fault = ground.link("var/log/")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.SHARED_MISSING
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("kind", ["link", "file"])
def test_nothing_is_linked_through_a_link_in_the_build(kind: str, ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    shared(ground, "config/.env")
    if kind == "link":
        (ground.release / "config").symlink_to(tmp_path / "outside")
    else:
        (ground.release / "config").touch()
    fault = ground.link("config/.env")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.UNSAFE_ENTRY
    assert "config/.env" in fault.message
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("entry", ["", "/", "../x", "a/../../x", "/etc/passwd"])
def test_entries_that_are_none(entry: str, ground: Ground) -> None:
    fault = ground.link(entry)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.INTERNAL
