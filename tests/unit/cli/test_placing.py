"""What is put into a directory where somebody hostile may write too goes nowhere else."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.cli.placing import CopyError, SharedDirectory


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


@pytest.fixture
def shared(drop: Path) -> Iterator[SharedDirectory]:
    with SharedDirectory.open(drop) as shared:
        yield shared


def left(drop: Path) -> list[str]:
    return sorted(path.name for path in drop.iterdir())


def test_text_and_files_with_their_modes(shared: SharedDirectory, drop: Path, tmp_path: Path) -> None:
    os.umask(os.umask(0o077))
    shared.put_text("now\n", "rollback")
    for name, mode in (("program", 0o700), ("secret", 0o600)):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(mode)
        shared.put_file(tmp_path / name, name)
    assert {path.name: (path.read_text(), stat.S_IMODE(path.stat().st_mode)) for path in drop.iterdir()} == {
        "rollback": ("now\n", 0o644),
        "program": ("x", 0o755),
        "secret": ("x", 0o644),
    }


def test_a_tree_replaces_what_stands_there(shared: SharedDirectory, drop: Path, tmp_path: Path) -> None:
    source = tmp_path / "site"
    (source / "deep/deeper").mkdir(parents=True, mode=0o700)
    (source / "deep/deeper/file").write_text("new")
    (source / "link").symlink_to("deep/deeper/file")
    (drop / "site").mkdir()
    (drop / "site/old").write_text("old")
    shared.put_tree(source, "site")
    assert left(drop) == ["site"]
    assert left(drop / "site") == ["deep", "link"]
    assert os.readlink(drop / "site/link") == "deep/deeper/file"
    assert (drop / "site/link").read_text() == "new"
    assert all(
        stat.S_IMODE((drop / path).stat().st_mode) == 0o755 for path in ("site", "site/deep", "site/deep/deeper")
    )


@pytest.mark.parametrize("planted", ["link", "link to a directory", "fifo", "hard link"])
def test_what_is_planted_under_the_name_is_replaced_and_not_written_to(
    planted: str, shared: SharedDirectory, drop: Path, tmp_path: Path
) -> None:
    victim, away = tmp_path / "victim", tmp_path / "away"
    victim.write_text("precious")
    victim.chmod(0o600)
    away.mkdir()
    match planted:
        case "link":
            (drop / "rollback").symlink_to(victim)
        case "link to a directory":
            (drop / "rollback").symlink_to(away)
        case "fifo":
            os.mkfifo(drop / "rollback")
        case "hard link":
            os.link(victim, drop / "rollback")
    shared.put_text("", "rollback")
    assert (drop / "rollback").read_bytes() == b""
    assert not (drop / "rollback").is_symlink()
    shared.remove("rollback")
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode), left(away)) == ("precious", 0o600, [])


def test_a_link_to_a_directory_is_no_place_for_a_tree(shared: SharedDirectory, drop: Path, tmp_path: Path) -> None:
    source, away = tmp_path / "site", tmp_path / "away"
    source.mkdir()
    (source / "file").write_text("x")
    away.mkdir()
    (drop / "site").symlink_to(away)
    with pytest.raises(NotADirectoryError):
        shared.put_tree(source, "site")
    assert (left(away), left(drop)) == ([], ["site"])


def test_who_swaps_the_temporary_directory_gets_nothing_written_elsewhere(
    shared: SharedDirectory, drop: Path, tmp_path: Path
) -> None:
    """An uploader renames whatever appears, and plants a link in its place, as fast as he can."""
    source, away = tmp_path / "site", tmp_path / "away"
    for number in range(40):
        (source / str(number)).mkdir(parents=True)
        (source / str(number) / "file").write_text("x")
    away.mkdir()
    is_over = threading.Event()

    def swap() -> None:
        number = 0
        while not is_over.is_set():
            for name in os.listdir(drop):
                if name.startswith(".dropdeploy-"):
                    number += 1
                    try:
                        os.rename(drop / name, drop / f"taken-{number}")
                        os.symlink(away, drop / name)
                    except OSError:
                        continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(30):
            try:
                shared.put_tree(source, "site")
                shared.put_text("x", "rollback")
            except OSError:
                continue
    finally:
        is_over.set()
        thread.join()
    assert left(away) == []


def test_everything_that_cannot_be_copied_is_named_and_nothing_is_left(
    shared: SharedDirectory, drop: Path, tmp_path: Path
) -> None:
    source = tmp_path / "site"
    source.mkdir()
    os.mkfifo(source / "fifo")
    os.mkfifo(source / "other")
    with pytest.raises(CopyError) as raised:
        shared.put_tree(source, "site")
    assert sorted(raised.value.reasons) == [
        f"{source}/fifo: neither a file nor a directory",
        f"{source}/other: neither a file nor a directory",
    ]
    with pytest.raises(CopyError, match="No such file or directory"):
        shared.put_file(tmp_path / "absent", "absent")
    assert left(drop) == []
