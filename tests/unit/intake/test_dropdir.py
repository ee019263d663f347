"""The drop directory with real files, as hostile as an uploader can make them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropdeploy.intake import wholeness
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.intake.held import HeldUpload
from dropdeploy.intake.listing import Closed, EntryKind
from dropdeploy.intake.meta import parse_meta
from dropdeploy.model.app import Accept, App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Action, Format, Marker, Upload
from dropdeploy.model.unpacking import Unpacked

CONTENT = b"PK and so on"
UNPACKED = Unpacked(len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 1, 1)


@pytest.fixture
def drop(tmp_path: Path) -> DropDirectory:
    return make_drop(tmp_path)


def make_drop(path: Path, accept: Accept | None = None) -> DropDirectory:
    return DropDirectory(App("myapp", root=path, drop=path, unit="myapp.service", accept=accept or Accept()))


def put(drop: DropDirectory, name: str, content: bytes = CONTENT) -> Upload:
    path = drop.path / name
    path.write_bytes(content)
    return Upload(name, Format.ZIP, wholeness.version_of(path.stat()))


async def hold(drop: DropDirectory, upload: Upload) -> HeldUpload:
    held = await drop.open(upload)
    assert isinstance(held, HeldUpload), held
    return held


async def test_a_look_sees_what_is_visible(drop: DropDirectory) -> None:
    put(drop, "build.zip")
    put(drop, ".build.zip.Abc123")
    put(drop, "build.zip.part")
    put(drop, "status.toml")
    put(drop, "rollback", "\ufeff 20260101-000000 \r\n".encode())
    (drop.path / "site").mkdir()
    (drop.path / "link.zip").symlink_to("/etc/passwd")
    os.mkfifo(drop.path / "fifo.zip")
    listing = await drop.look({})
    assert not isinstance(listing, str)
    assert {entry.name: (entry.kind, entry.text) for entry in listing} == {
        "build.zip": (EntryKind.FILE, ""),
        "rollback": (EntryKind.FILE, "20260101-000000"),
        "site": (EntryKind.DIRECTORY, ""),
        "link.zip": (EntryKind.OTHER, ""),
        "fifo.zip": (EntryKind.OTHER, ""),
    }


@pytest.mark.parametrize(
    "content", [b"id", b"id\n", b"id\r\n", b"\xef\xbb\xbfid\r\n", "id\r\n".encode("utf-16"), b"\n\n  id\nmore"]
)
async def test_a_marker_is_read_however_it_was_written(drop: DropDirectory, content: bytes) -> None:
    put(drop, "rollback", content)
    listing = await drop.look({})
    assert not isinstance(listing, str)
    assert listing[0].text == "id"


async def test_what_was_answered_is_not_opened_again(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    listing = await drop.look({"build.zip": upload.version})
    assert not isinstance(listing, str)
    assert listing[0].closed is Closed.UNKNOWN


async def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    assert await make_drop(path).look({}) == f"the drop directory {path} cannot be read: No such file or directory"


async def test_names_that_are_not_utf8_are_seen(drop: DropDirectory) -> None:
    os.close(os.open(os.fsencode(drop.path) + b"/b\xe4h.zip", os.O_CREAT | os.O_WRONLY))
    listing = await drop.look({})
    assert not isinstance(listing, str)
    assert os.fsencode(listing[0].name) == b"b\xe4h.zip"


async def test_an_upload_is_held_against_writers_and_judged(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    held = await hold(drop, upload)
    assert held.source.size == len(CONTENT)
    assert held.is_unchanged()
    os.utime(drop.path / "build.zip", (1, 1))  # sftp put -p, rsync: times are set after the last byte
    proven = await held.judge(UNPACKED)
    assert proven == wholeness.version_of((drop.path / "build.zip").stat())
    held.close()
    held.close()


async def test_a_writer_while_it_is_read_is_noticed(drop: DropDirectory) -> None:
    held = await hold(drop, put(drop, "build.zip"))
    with pytest.raises(BlockingIOError):
        os.open(drop.path / "build.zip", os.O_WRONLY | os.O_NONBLOCK)
    assert not held.is_unchanged()
    fault = await held.judge(UNPACKED)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.CHANGED_WHILE_READING
    held.close()


async def test_another_version_is_not_opened(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    put(drop, "build.zip", b"PK something else")
    fault = await drop.open(upload)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.CHANGED_WHILE_READING


async def test_one_that_is_gone_or_written_again_is_not_opened(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    with (drop.path / "build.zip").open("r+b"):
        busy = await drop.open(upload)
    (drop.path / "build.zip").unlink()
    gone = await drop.open(upload)
    for fault in (busy, gone):
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.CHANGED_WHILE_READING


async def test_a_link_planted_in_its_place_is_not_followed(drop: DropDirectory, tmp_path: Path) -> None:
    upload = put(drop, "build.zip")
    (drop.path / "secret").write_bytes(b"x")
    (drop.path / "build.zip").unlink()
    (drop.path / "build.zip").symlink_to("secret")
    fault = await drop.open(upload)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.UNREADABLE_UPLOAD


async def test_too_large_is_known_before_a_byte_is_read(tmp_path: Path) -> None:
    drop = make_drop(tmp_path, Accept(max_bytes=3))
    fault = await drop.open(put(drop, "build.zip"))
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.TOO_LARGE


async def test_checksums(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    good = f"{UNPACKED.sha256}  build.zip\n"
    for text, code in ((good, None), ("0" * 64, ErrorCode.CHECKSUM_MISMATCH), ("none", ErrorCode.CHECKSUM_MISMATCH)):
        (drop.path / "build.zip.sha256").write_text(text)
        held = await hold(drop, upload)
        judged = await held.judge(UNPACKED)
        held.close()
        assert (judged.code if isinstance(judged, Fault) else None) is code


async def test_a_required_checksum_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    drop = make_drop(tmp_path, Accept(checksum="required"))
    upload = put(drop, "build.zip")
    put(drop, "build.zip.sha256")
    held = await hold(drop, upload)
    (drop.path / "build.zip.sha256").unlink()
    judged = await held.judge(UNPACKED)
    held.close()
    assert isinstance(judged, Fault)
    assert judged.code is ErrorCode.CHECKSUM_MISSING


PIECED = {"is_pieced": True}


@pytest.mark.parametrize(
    ("how", "is_sealed", "sidecar", "is_taken"),
    [
        ({}, False, "", True),  # in one go: its own end is proof enough
        (PIECED, True, "", True),  # the format's checksum covers all of it
        (PIECED, False, "", False),
        (PIECED, False, ".sha256", True),
        (PIECED, False, ".ready", True),
        (PIECED, False, ".meta.toml", False),
    ],
)
async def test_what_was_written_in_pieces(
    how: dict[str, bool], is_sealed: bool, sidecar: str, is_taken: bool, drop: DropDirectory
) -> None:
    upload = replace(put(drop, "build.tar"), **how)  # type: ignore[arg-type]
    if sidecar:
        put(drop, f"build.tar{sidecar}", UNPACKED.sha256.encode())
    if sidecar == ".ready":
        upload = replace(upload, go=upload.version)
    held = await hold(drop, upload)
    judged = await held.judge(replace(UNPACKED, is_sealed=is_sealed))
    held.close()
    assert isinstance(judged, Fault) is not is_taken
    if isinstance(judged, Fault):
        assert judged.code is ErrorCode.CHECKSUM_MISSING
        assert "build.tar.sha256" in judged.hint


async def test_clearing_away_a_deployed_archive_takes_its_sidecars(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    for ending in (".sha256", ".sig", ".meta.toml", ".ready"):
        put(drop, f"build.zip{ending}")
    put(drop, "other.zip")
    assert await drop.delete(upload)
    assert os.listdir(drop.path) == ["other.zip"]


async def test_clearing_away_never_takes_what_came_since(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    put(drop, "build.zip", b"PK newer")
    put(drop, "build.zip.ready")
    assert not await drop.delete(upload)
    assert sorted(os.listdir(drop.path)) == ["build.zip", "build.zip.ready"]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_other_times_or_modes_make_no_other_upload(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip", b"PK")
    os.utime(drop.path / "build.zip", (1_600_000_000, 1_600_000_000))
    (drop.path / "build.zip").chmod(0o600)
    now = await drop.as_it_is_now(upload, digest(b"PK"))
    assert now == replace(upload, version=wholeness.version_of((drop.path / "build.zip").stat()))
    assert await drop.delete(now)
    assert os.listdir(drop.path) == []


async def test_other_bytes_make_another_upload_whatever_their_times(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip", b"PK old")
    before = (drop.path / "build.zip").stat()
    with (drop.path / "build.zip").open("r+b") as file:
        file.write(b"PK new")
    os.utime(drop.path / "build.zip", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await drop.as_it_is_now(upload, digest(b"PK old")) == upload


async def test_the_same_bytes_again_are_another_upload(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip", b"PK")
    (drop.path / "build.zip").rename(drop.path / "kept")
    put(drop, "build.zip", b"PK")
    assert await drop.as_it_is_now(upload, digest(b"PK")) == upload


async def test_what_is_open_for_writing_is_another_upload(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip", b"PK")
    os.utime(drop.path / "build.zip")
    with (drop.path / "build.zip").open("r+b"):
        assert await drop.as_it_is_now(upload, digest(b"PK")) == upload
    assert await drop.as_it_is_now(upload, digest(b"PK")) != upload
    assert await drop.as_it_is_now(upload, "") == upload
    (drop.path / "build.zip").unlink()
    assert await drop.as_it_is_now(upload, digest(b"PK")) == upload


async def test_what_is_open_for_writing_is_not_deleted(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip", b"PK old")
    put(drop, "build.zip.sha256")
    with (drop.path / "build.zip").open("r+b") as file:  # as scp opens it, which has not written yet
        assert not await drop.delete(upload)
        file.write(b"PK new")
    assert (drop.path / "build.zip").read_bytes() == b"PK new"
    assert not await drop.delete(upload)
    assert sorted(os.listdir(drop.path)) == ["build.zip", "build.zip.sha256"]


async def test_who_opens_it_in_the_moment_of_its_deletion_gets_it_back(
    drop: DropDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = put(drop, "build.zip", b"PK old")
    rename, writers = os.rename, []

    def open_and_rename(*names: Any, **directories: Any) -> None:
        with pytest.raises(BlockingIOError):  # the lease makes it wait; this one will not
            os.open(drop.path / "build.zip", os.O_WRONLY | os.O_NONBLOCK)
        writers.append(names)
        rename(*names, **directories)

    monkeypatch.setattr(os, "rename", open_and_rename)
    assert not await drop.delete(upload)
    assert writers
    assert os.listdir(drop.path) == ["build.zip"]
    assert (drop.path / "build.zip").stat().st_ino == upload.version.inode


async def test_a_failed_upload_stays_and_its_marker_goes(drop: DropDirectory) -> None:
    upload = put(drop, "build.zip")
    put(drop, "build.zip.ready")  # it came while the deploy was in progress
    await drop.consume(upload)
    assert os.listdir(drop.path) == ["build.zip"]


async def test_a_directory_stays_and_a_newer_marker_too(drop: DropDirectory) -> None:
    (drop.path / "site").mkdir()
    put(drop, "site.ready")
    go = wholeness.version_of((drop.path / "site.ready").stat())
    upload = Upload("site", Format.DIRECTORY, wholeness.version_of((drop.path / "site").stat()), go=go)
    put(drop, "site.ready", b"again")
    await drop.consume(upload)
    assert sorted(os.listdir(drop.path)) == ["site", "site.ready"]
    newer = Upload("site", Format.DIRECTORY, upload.version, wholeness.version_of((drop.path / "site.ready").stat()))
    await drop.consume(newer)
    assert os.listdir(drop.path) == ["site"]


async def test_a_marker_is_consumed_once(drop: DropDirectory) -> None:
    put(drop, "rollback")
    first = wholeness.version_of((drop.path / "rollback").stat())
    put(drop, "rollback", b"20260101-000000")
    await drop.consume(Marker("rollback", Action.ROLLBACK, first))
    assert os.listdir(drop.path) == ["rollback"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"commit = ", "not TOML"),
        (b"commit = 1", "the value of 'commit' is no string"),
        (b"[a]\nb = 'c'", "the value of 'a' is no string"),
        (b"\xff\xff", "not TOML"),
        (b"a = '" + b"x" * 70_000 + b"'", "larger than 64 KiB"),
    ],
)
def test_bad_metadata_is_told(content: bytes, told: str) -> None:
    fault = parse_meta("build.zip.meta.toml", content)
    assert isinstance(fault, Fault)
    assert told in fault.message


def test_good_metadata() -> None:
    assert parse_meta("x", '\ufeffcommit = "1a2b"\r\nauthor = "Zoë"'.encode()) == (
        ("commit", "1a2b"),
        ("author", "Zoë"),
    )
