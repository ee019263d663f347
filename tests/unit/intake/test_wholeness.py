"""Read leases, asked of the real kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropdeploy.intake import wholeness
from dropdeploy.intake.listing import Closed


@pytest.fixture
def build(tmp_path: Path) -> Path:
    path = tmp_path / "build.zip"
    path.write_bytes(b"PK")
    return path


def probe(path: Path) -> Closed:
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        return wholeness.probe(path.name, directory)
    finally:
        os.close(directory)


def test_a_file_that_nobody_writes_is_closed(build: Path) -> None:
    assert probe(build) is Closed.YES


def test_a_reader_does_not_count(build: Path) -> None:
    with build.open("rb"):
        assert probe(build) is Closed.YES


def test_a_frozen_writer_keeps_it_open(build: Path) -> None:
    with build.open("ab"):
        assert probe(build) is Closed.NO
    assert probe(build) is Closed.YES


def test_what_is_gone_or_a_link_is_unknown(build: Path) -> None:
    (build.parent / "link.zip").symlink_to(build)
    assert probe(build.parent / "link.zip") is Closed.UNKNOWN
    assert probe(build.parent / "gone.zip") is Closed.UNKNOWN


def test_a_lease_tells_of_a_writer(build: Path) -> None:
    fd = os.open(build, os.O_RDONLY)
    try:
        assert wholeness.take_lease(fd) is Closed.YES
        assert wholeness.is_lease_whole(fd)
        with pytest.raises(BlockingIOError):
            os.open(build, os.O_WRONLY | os.O_NONBLOCK)
        assert not wholeness.is_lease_whole(fd)
        wholeness.drop_lease(fd)
        os.close(os.open(build, os.O_WRONLY | os.O_NONBLOCK))
    finally:
        os.close(fd)


def test_the_version_changes_with_the_bytes_and_with_the_inode(build: Path) -> None:
    first = wholeness.version_of(build.stat())
    build.write_bytes(b"PK, and more")
    second = wholeness.version_of(build.stat())
    build.unlink()
    build.write_bytes(b"PK, and more")
    third = wholeness.version_of(build.stat())
    assert len({first, second, third}) == 3
