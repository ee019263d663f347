"""The last lines that systemd's journal has of a unit, read with journalctl(1).

A line's cursor is a moment: journald stamps what it receives with CLOCK_MONOTONIC, so "since the restart" needs no
entry in the journal to start from, no process and no permission. Lines are chosen with -u, never by invocation id,
which misses lines of processes that were gone when journald looked them up.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from dropdeploy.units.output import clean_line

ANSWER_S: Final = 5.0
SETTLE_S: Final = 1.0  # journald may be this late with the last words of a process
SETTLE_POLL_S: Final = 0.05
ANSWER_BYTES: Final = 8 * 1024 * 1024

_NOT_PERMITTED: Final = ("insufficient permissions", "not seeing messages from other users", "Permission denied")


@dataclass(frozen=True, slots=True)
class _Moment:
    boot: str
    monotonic_us: int
    realtime_us: int

    def is_before(self, entry: dict[str, Any]) -> bool:
        if entry["_BOOT_ID"] == self.boot:
            return int(entry["__MONOTONIC_TIMESTAMP"]) > self.monotonic_us
        return int(entry["__REALTIME_TIMESTAMP"]) > self.realtime_us


class _UnreadableError(Exception):
    """Why there is nothing to read, and what to do about it."""


def cursor_now() -> str:
    """This moment, as ``read_tail`` takes it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip().replace("-", "")
    return f"{boot}:{time.monotonic_ns() // 1000}:{time.time_ns() // 1000}"


def _parse_cursor(cursor: str) -> _Moment | None:
    boot, _, times = cursor.partition(":")
    monotonic, _, realtime = times.partition(":")
    return _Moment(boot, int(monotonic), int(realtime)) if realtime else None


async def read_tail(unit: str, cursor: str, lines: int, *, is_user: bool) -> str:
    """The unit's last lines since ``cursor`` ("" for the last ones ever), oldest first.

    Returns one line in brackets when they cannot be read. Reads until two answers agree, at most SETTLE_S long.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + SETTLE_S
    moment = _parse_cursor(cursor)
    before: list[str] = []
    while True:
        try:
            entries = await _read_entries(unit, lines, is_user=is_user)
        except _UnreadableError as unreadable:
            return f"[{unreadable}]"
        tail = [line for entry in entries if moment is None or moment.is_before(entry) for line in _lines_of(entry)]
        if (tail and tail == before) or loop.time() >= give_up:
            return "\n".join(tail[-lines:])
        before = tail
        await asyncio.sleep(SETTLE_POLL_S)


def _lines_of(entry: dict[str, Any]) -> Iterator[str]:
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # bytes that are no UTF-8; or, rarely, several fields of the name
        message = bytes(message).decode("utf-8", "replace") if all(isinstance(b, int) for b in message) else message[0]
    for line in str(message or "").split("\n"):
        yield clean_line(line)


async def _read_entries(unit: str, lines: int, *, is_user: bool) -> list[dict[str, Any]]:
    command = ["journalctl", "--no-pager", f"--{'user-' if is_user else ''}unit={unit}", f"--lines={lines}"]
    # --all: else a message of more than 4096 bytes is null.
    command += ["--output=json", "--output-fields=MESSAGE", "--all"]
    try:
        answer, complaint = await asyncio.to_thread(_run, command)
    except TimeoutError:
        raise _UnreadableError(f"the journal of {unit} could not be read: no answer within {ANSWER_S:.0f} s") from None
    except FileNotFoundError:
        raise _UnreadableError("the journal cannot be read: journalctl is not installed") from None
    # What follows the last newline is the line at which reading stopped.
    entries = [json.loads(line) for line in answer.split(b"\n")[:-1] if line.startswith(b"{")]
    if not entries and any(words in complaint for words in _NOT_PERMITTED):
        raise _UnreadableError(
            f"the journal of {unit} may not be read by the agent: add its user to the group systemd-journal"
        )
    if not entries and complaint and not complaint.startswith("Hint"):
        raise _UnreadableError(f"the journal of {unit} could not be read: {clean_line(complaint.splitlines()[0])}")
    return entries


def _run(command: list[str]) -> tuple[bytes, str]:
    """At most ANSWER_BYTES of its output, and what it complains about. Raises TimeoutError after ANSWER_S."""
    give_up = time.monotonic() + ANSWER_S
    answer = bytearray()
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            while len(answer) < ANSWER_BYTES:
                if not select.select([process.stdout], [], [], max(0.0, give_up - time.monotonic()))[0]:
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece:
                    break
                answer += piece
        finally:
            process.kill()
        complaints.seek(0)
        return bytes(answer), complaints.read(4096).decode("utf-8", "replace").strip()


def why_unreadable(unit: str, *, is_user: bool) -> tuple[str, ...]:
    """Why whoever runs this may not read the unit's journal, and what to do; empty when they may."""
    command = ["journalctl", "--no-pager", f"--{'user-' if is_user else ''}unit={unit}", "--lines=1", "--output=cat"]
    try:
        _, complaint = _run(command)
    except TimeoutError:
        return ()  # it is slow: whoever asks will see
    except FileNotFoundError:
        return ("the journal cannot be read: journalctl is not installed",)
    if not any(words in complaint for words in _NOT_PERMITTED):
        return ()
    user = pwd.getpwuid(os.geteuid()).pw_name
    return (
        f"the journal of {unit} may not be read by {user}: run this as root,",
        f"or join the group that may, `usermod --append --groups systemd-journal {user}`, and log in anew",
    )
