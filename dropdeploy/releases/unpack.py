"""The agent's side of the unpacker: start it, listen to it, kill it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dropdeploy
from dropdeploy.model.app import Accept
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Format
from dropdeploy.model.unpacking import Percent, Source, Unpacked
from dropdeploy.releases.completion import complete
from dropdeploy.shortage import is_shortage

_LOG = logging.getLogger(__name__)
_LINE = 64 << 10
_STDERR = 16 << 10
_USED_UP = "something is used up on the server (descriptors, memory, processes); upload its .ready to try again"
_SHORTAGES = tuple(f"({os.strerror(code)})" for code in (errno.EMFILE, errno.ENFILE))
# EMFILE and ENFILE, as Python says it when it starts, and the dynamic loader.
_NO_DESCRIPTOR = re.compile(r"Too many open files|\b(?:Error|Errno) 2[34]\b")
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "TZ")


async def run_unpacker(
    source: Source,
    staging: int,
    *,
    strip: int,
    accept: Accept,
    beyond: Sequence[str],
    percent: Percent,
    former: int | None = None,
    same: int | None = None,
) -> Unpacked | Fault:
    """Unpack ``source`` into the directory whose descriptor is ``staging``, in a process of its own.

    When cancelled the process is killed, and gone when CancelledError is raised. What it has written stays, for
    the caller to remove. ``beyond`` are the places of shared entries; for ``former`` and ``same`` see its ``Job``. Of
    what the process says only numbers, one digest and a fault's texts are taken, each for what it must be.
    """
    job = {
        "source": source.fd,
        "staging": staging,
        "tap": source.tap,
        "former": former,
        "same": same,
        "format": str(source.format),
        "size": source.size,
        "strip": strip,
        "max_bytes": accept.max_unpacked,
        "max_entries": accept.max_entries,
        "beyond": [entry.strip("/") for entry in beyond],
    }
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-S", "-m", "dropdeploy.releases.unpacker", json.dumps(job),
            stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LINE, start_new_session=True,
            pass_fds=[fd for fd in (source.fd, staging, source.tap, former, same) if fd is not None],
            env=_environment(),
        )  # fmt: skip
    except OSError as error:  # EMFILE, ENOMEM, EAGAIN: the machine has no more of something
        return Fault(
            ErrorCode.INTERNAL,
            f"the unpacker could not be started: {error.strerror}",
            _USED_UP,
            is_shortage=is_shortage(error),
        )
    try:
        return await _listen(process, source, percent)
    finally:
        await _end(process)


def _environment() -> dict[str, str]:
    """What the process must know, and nothing more: the agent's environment may hold secrets.

    Started without site, for speed, it must find its modules where the agent finds them.
    """
    own = str(Path(dropdeploy.__file__).resolve().parent.parent)
    path = os.pathsep.join([own, *(entry for entry in sys.path if entry and entry != own)])
    return {"PYTHONPATH": path, **{name: os.environ[name] for name in _INHERITED if name in os.environ}}


async def _listen(process: Process, source: Source, percent: Percent) -> Unpacked | Fault:
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.ensure_future(_last_bytes(process.stderr))
    try:
        verdict: Unpacked | Fault | None = None
        while line := await process.stdout.readline():
            report = json.loads(line)
            if "read" in report and source.format is not Format.DIRECTORY and source.size:
                percent(min(100.0, 100.0 * int(report["read"]) / source.size))
            elif "done" in report:
                verdict = _unpacked(report["done"])
            elif "fault" in report:
                verdict = _fault(report["fault"])
        status = await process.wait()
        said = await errors
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.exception("the unpacker said something strange")
        return Fault(ErrorCode.INTERNAL, f"the unpacker's answer makes no sense ({error})", "see the agent's journal")
    finally:
        errors.cancel()
        await asyncio.wait([errors])
    is_short = status != 0 and _NO_DESCRIPTOR.search(said) is not None
    if said and not is_short:
        _LOG.error("the unpacker: %s", said)
    if status == 0 and isinstance(verdict, Unpacked):
        percent(100.0)
        return verdict
    if isinstance(verdict, Fault):
        return verdict
    if is_short:
        message = "the unpacker could not begin: no file descriptor is left on the server"
        return Fault(ErrorCode.INTERNAL, message, _USED_UP, is_shortage=True)
    return _death(status, said)


def _unpacked(report: dict[str, object]) -> Unpacked:
    counts = [report["bytes"], report["entries"], report["unpacked_bytes"], report["cloned_bytes"]]
    size, entries, unpacked, cloned = [count for count in counts if isinstance(count, int) and count >= 0]
    sha256 = str(report["sha256"])
    if sha256 and len(bytes.fromhex(sha256)) != 32:
        raise ValueError("not a SHA-256 digest")
    is_sealed = report["is_sealed"] is True
    return Unpacked(size, sha256, entries, unpacked, is_sealed, shared_bytes=cloned)


def _fault(report: dict[str, object]) -> Fault:
    message = str(report["message"])
    return Fault(ErrorCode(str(report["code"])), message, str(report["hint"]), is_shortage=message.endswith(_SHORTAGES))


def _death(status: int, said: str) -> Fault:
    """It ended without a verdict."""
    if status == -signal.SIGKILL:
        return Fault(
            ErrorCode.INTERNAL,
            "the unpacker was killed (SIGKILL), most likely because the memory did not suffice",
            "the upload may be as it should be: give the agent's unit (MemoryMax=) or the machine more memory, "
            "`journalctl -k` on the server tells which was short; then upload its .ready",
        )
    how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    hint = "see the agent's journal; the upload may be as it should be, then its .ready tries it again"
    return Fault(ErrorCode.INTERNAL, f"the unpacker {how} without a verdict", hint, said)


async def _last_bytes(stream: asyncio.StreamReader) -> str:
    """What the process says when it fails unexpectedly: the end of it, for the journal."""
    kept = b""
    while data := await stream.read(_STDERR):
        kept = (kept + data)[-_STDERR:]
    return kept.decode("utf-8", "backslashreplace").strip()


async def _end(process: Process) -> None:
    """See that the process is gone and its pipes are closed, cancelled or not."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await complete(_drain(process))  # SIGKILL takes a moment, and nobody may remove the files before


async def _drain(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(_LINE):
            pass
    await process.wait()
