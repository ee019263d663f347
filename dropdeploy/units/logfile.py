"""What units of the embedded supervisor print, kept in files: a line each, with its time, as ``dropdeploy logs`` reads.

A file that is full is set aside as ``.1``, in place of the one before it: at most twice MAX_BYTES are kept of a unit.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024 * 1024
DIRECTORY: Final = "logs"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line and when it came."""

    at: datetime
    text: str


def log_path(state: Path, unit: str) -> Path:
    """Where the log of this unit is, in the agent's state directory."""
    return state / DIRECTORY / f"{unit.removesuffix('.service')}.log"


class LogFile:
    """The writing end. A disk that takes nothing is no reason for a unit not to run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: str) -> None:
        """A whole line, without its newline."""
        entry = f"{datetime.now(UTC).isoformat(timespec='microseconds')} {line}\n".encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o750, exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            try:
                os.write(fd, entry)
                is_full = os.fstat(fd).st_size >= MAX_BYTES
            finally:
                os.close(fd)
            if is_full:
                os.replace(self._path, _older(self._path))


def read_log(
    path: Path, *, since: datetime | None, until: datetime | None, lines: int | None, follows: bool
) -> Iterator[list[LogLine]]:
    """What is there, the last ``lines`` of it; following, what has come since, time and again and for ever, also
    nothing. Raises OSError when it may not be read; a file that is missing is empty."""
    kept: deque[LogLine] = deque(maxlen=lines)
    place = _Place()
    for file in (_older(path), path):
        kept.extend(line for line in place.read(file) if _is_within(line, since, until))
    yield list(kept)
    while follows:
        yield [line for line in place.read(path) if _is_within(line, since, until)]


class _Place:
    """How far was read, and in which file."""

    def __init__(self) -> None:
        self._inode = 0
        self._offset = 0

    def read(self, path: Path) -> list[LogLine]:
        """What has come to ``path`` since, and before it the rest of what was set aside meanwhile."""
        rest = self._read_on(_older(path)) if self._inode and _inode(path) != self._inode else []
        return rest + self._read_on(path, is_new=True)

    def _read_on(self, path: Path, *, is_new: bool = False) -> list[LogLine]:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                if not is_new:
                    return []
                self._inode, self._offset = inode, 0
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [line for each in whole.split(b"\n")[:-1] if (line := _parse(each)) is not None]


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _parse(line: bytes) -> LogLine | None:
    moment, _, text = line.decode("utf-8", "replace").partition(" ")
    try:
        return LogLine(datetime.fromisoformat(moment), text)
    except ValueError:
        return None


def _is_within(line: LogLine, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or line.at >= since) and (until is None or line.at < until)
