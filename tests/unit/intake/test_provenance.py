"""Written in one go, or in pieces: what stands under a name, look by look."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dropdeploy.intake import wholeness
from dropdeploy.intake.listing import Entry, EntryKind
from dropdeploy.intake.provenance import Writing, follow, is_only_touched
from dropdeploy.model.request import Answer, Fate, Format, Upload, Version

OPEN, CLOSED = False, True


class File:
    """A file on which clients do what they do, and which is looked at in between."""

    def __init__(self) -> None:
        self.version = Version(1, 7, 0, 0, 0)
        self.writing: Writing | None = None
        self.clock = 0

    def written(self, size: int, *, is_closed: bool) -> File:
        """It is ``size`` long after a write; the kernel sets both times."""
        self.clock += 1
        self.version = replace(self.version, size=size, modified_ns=self.clock, changed_ns=self.clock)
        return self.looked_at(is_closed=is_closed)

    def timed(self, modified_ns: int) -> File:
        self.clock += 1
        self.version = replace(self.version, modified_ns=modified_ns, changed_ns=self.clock)
        return self.looked_at(is_closed=CLOSED)

    def changed_mode(self) -> File:
        return self.timed(self.version.modified_ns)

    def replaced(self, size: int) -> File:
        self.version = replace(self.version, inode=self.version.inode + 1)
        return self.written(size, is_closed=CLOSED)

    def looked_at(self, *, is_closed: bool, answer: Answer | None = None) -> File:
        entry = Entry("build.tar", EntryKind.FILE, self.version)
        self.writing = follow(self.writing, entry, answer, is_closed=is_closed)
        return self

    @property
    def is_pieced(self) -> bool:
        assert self.writing is not None
        return self.writing.is_pieced


def uploaded(size: int = 100) -> File:
    return File().written(size // 2, is_closed=OPEN).written(size, is_closed=CLOSED)


HISTORIES = {
    "uploaded in one go": (uploaded(), False),
    "slow, many looks": (
        File().written(1, is_closed=OPEN).written(50, is_closed=OPEN).written(99, is_closed=CLOSED),
        False,
    ),
    "mode and times set after the close": (uploaded().changed_mode().timed(-5), False),
    "scp over it, killed midway": (uploaded().written(100, is_closed=OPEN).written(100, is_closed=CLOSED), True),
    "scp over it, between two looks": (uploaded().written(100, is_closed=CLOSED), True),
    "scp -p over it, to its end": (uploaded().written(100, is_closed=OPEN).timed(-5), False),
    "rsync --inplace, killed: it sets the time 0": (uploaded().written(100, is_closed=OPEN).timed(0), True),
    "gone on with after an interruption": (uploaded(50).written(100, is_closed=CLOSED), True),
    "gone on with, times set": (uploaded(50).written(100, is_closed=CLOSED).timed(-5), True),
    "truncated and written anew": (uploaded().written(0, is_closed=OPEN).written(100, is_closed=CLOSED), False),
    "truncated, killed, gone on with": (
        uploaded().written(0, is_closed=OPEN).written(40, is_closed=CLOSED).written(100, is_closed=CLOSED),
        True,
    ),
    "replaced by rename": (uploaded().replaced(100), False),
    "pieces replaced by rename": (uploaded().written(100, is_closed=CLOSED).replaced(100), False),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_in_one_go_or_in_pieces(history: str) -> None:
    file, is_pieced = HISTORIES[history]
    assert file.is_pieced is is_pieced


def answer(version: Version, fate: Fate) -> Answer:
    return Answer(Upload("build.tar", Format.TAR, version), fate=fate)


@pytest.mark.parametrize(("fate", "is_pieced"), [(Fate.STAYS, True), (Fate.GOES, True), (Fate.GONE, False)])
def test_an_answer_tells_of_what_stood_there_before_the_agent_was_started(fate: Fate, is_pieced: bool) -> None:
    before = uploaded().version
    file = File()
    file.version = replace(before, modified_ns=50, changed_ns=50)
    assert file.looked_at(is_closed=CLOSED, answer=answer(before, fate)).is_pieced is is_pieced
    same = File()
    same.version = before
    assert not same.looked_at(is_closed=CLOSED, answer=answer(before, fate)).is_pieced


def test_the_kernel_sets_both_times_alike_when_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "build.tar"
    path.write_bytes(b"old" * 10)
    first = wholeness.version_of(path.stat())
    with path.open("r+b") as file:
        file.write(b"new")
    second = wholeness.version_of(path.stat())
    assert second.modified_ns == second.changed_ns
    assert not is_only_touched(first, second)
    path.chmod(0o600)
    third = wholeness.version_of(path.stat())
    assert is_only_touched(second, third)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    fourth = wholeness.version_of(path.stat())
    assert is_only_touched(third, fourth)
    os.utime(path, (1_600_000_000, 1_600_000_000))  # as a second upload with `sftp put -p` leaves it
    assert fourth != wholeness.version_of(path.stat())
    assert not is_only_touched(fourth, wholeness.version_of(path.stat()))
    os.truncate(path, 30)
    assert not is_only_touched(third, wholeness.version_of(path.stat()))
