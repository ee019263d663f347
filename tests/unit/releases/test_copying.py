from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.releases.copying import copy_data, write_all


@pytest.mark.parametrize("size", [0, 1, 5 << 20])
def test_a_copy_is_the_same(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_WRONLY | os.O_CREAT)
    assert copy_data(source, target, size) == size
    os.close(source)
    os.close(target)
    assert (tmp_path / "target").read_bytes() == data


def test_what_cannot_be_copied_in_the_kernel_is_read() -> None:
    source = os.open("/proc/self/status", os.O_RDONLY)
    reading, writing = os.pipe()
    assert copy_data(source, writing, 0) > 100
    assert b"Name:" in os.read(reading, 4096)
    for fd in (source, reading, writing):
        os.close(fd)


def test_files_of_proc_and_pipes(tmp_path: Path) -> None:
    source = os.open("/proc/version", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_WRONLY | os.O_CREAT)
    copied = copy_data(source, target, 10)
    assert copied == len((tmp_path / "target").read_bytes()) > 10
    os.close(source)
    os.close(target)


def test_all_is_written() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    write_all(writing, memoryview(b"x" * 4000))
    assert len(os.read(reading, 10_000)) == 4000
    os.close(reading)
    os.close(writing)


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A file system that shares blocks."""
    image, place = tmp_path / "image", tmp_path / "btrfs"
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("needs root and btrfs-progs")
    with image.open("wb") as file:
        file.truncate(128 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_blocks_are_shared_where_the_file_system_can(btrfs: Path) -> None:
    (btrfs / "source").write_bytes(os.urandom(8 << 20))
    os.sync()
    before = os.statvfs(btrfs).f_bfree
    with (btrfs / "source").open("rb") as source, (btrfs / "target").open("wb") as target:
        assert copy_data(source.fileno(), target.fileno(), 8 << 20) == 8 << 20
    os.sync()
    assert (before - os.statvfs(btrfs).f_bfree) * os.statvfs(btrfs).f_bsize < 1 << 20
    assert (btrfs / "target").read_bytes() == (btrfs / "source").read_bytes()
    assert (btrfs / "target").stat().st_ino != (btrfs / "source").stat().st_ino
