"""Files that the agent writes into drop directories, where uploaders may write too: whole or not at all, and never
through anything that somebody planted there. Everything here waits for the disk: call it off the event loop.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.model.fault import ErrorCode, Fault

RESULT = ".result.toml"
DEPLOYING = ".deploying"
STATUS_PAGE = "status.html"

_MAX_NAME_BYTES = 255
_TEMPORARY = re.compile(r"\.dropdeploy-[0-9a-f]{16}\.tmp")
_CODES = {
    errno.ENOSPC: ErrorCode.NO_SPACE,
    errno.EDQUOT: ErrorCode.NO_SPACE,
    errno.EACCES: ErrorCode.NOT_AUTHORISED,
    errno.EPERM: ErrorCode.NOT_AUTHORISED,
    errno.EROFS: ErrorCode.NOT_AUTHORISED,
}


def result_name(upload: str) -> str:
    """The name of the result of ``upload``; where that would be too long, the same shortened name each time."""
    return _with_ending(upload, RESULT)


def deploying_name(upload: str) -> str:
    """The name of the file that tells how far ``upload`` is; shortened as ``result_name``."""
    return _with_ending(upload, DEPLOYING)


def _with_ending(upload: str, ending: str) -> str:
    name = os.fsencode(upload)
    if len(name) + len(ending) <= _MAX_NAME_BYTES:
        return upload + ending
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    size = _MAX_NAME_BYTES - len(mark) - len(ending)
    # Not within a character: in UTF-8 all but a character's first byte are 0b10xxxxxx, three at most.
    for _ in range(3):
        size -= name[size] & 0xC0 == 0x80
    return os.fsdecode(name[:size]) + mark + ending


def write_atomically(
    directory: int | Path, name: str, text: str, *, is_durable: bool = True, mode: int = 0o644
) -> Fault | None:
    """Put ``text`` under ``name`` in place of whatever stood there; never through it, if a link.

    Readable for all, or with another ``mode``.
    ``directory`` is a path or an open descriptor. ``is_durable``: on disk when this returns, name and content. What
    cannot be written is a fault (``no-space``, ``not-authorised``, else ``internal``), and leaves what was there.
    """
    written = write_and_identify(directory, name, text, is_durable=is_durable, mode=mode)
    return written if isinstance(written, Fault) else None


def write_and_identify(
    directory: int | Path, name: str, text: str, *, is_durable: bool = True, mode: int = 0o644
) -> os.stat_result | Fault:
    """The same, and which file that is now."""
    try:
        with _opened(directory) as fd:
            return _replace(fd, name, text.encode(errors="replace"), is_durable, mode)
    except OSError as error:
        return _fault(directory, name, "written", error)


def remove(directory: int | Path, name: str) -> Fault | None:
    """Remove a file (of a link: the link); that there is none is no fault."""
    try:
        with _opened(directory) as fd:
            os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _fault(directory, name, "removed", error)
    return None


def remove_leftovers(directory: int | Path) -> None:
    """Remove the temporary files of writes that a crash broke off. Only while nothing is being written."""
    with contextlib.suppress(OSError), _opened(directory) as fd:
        for name in os.listdir(fd):
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=fd)


@contextlib.contextmanager
def _opened(directory: int | Path) -> Iterator[int]:
    if isinstance(directory, int):
        yield directory
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _replace(directory: int, name: str, content: bytes, is_durable: bool, mode: int) -> os.stat_result:
    temporary = f".dropdeploy-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(fd, mode)  # whatever the umask is
            if is_durable:
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            status = os.fstat(fd)  # of these bytes, whatever stands under the name by now
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if is_durable:
        os.fsync(directory)
    return status


def _fault(directory: int | Path, name: str, what: str, error: OSError) -> Fault:
    where = "" if isinstance(directory, int) else f" in {directory}"
    hint = (
        f"a directory stands under this name{where}, remove it"
        if error.errno in (errno.EISDIR, errno.ENOTEMPTY)
        else "look at the drop directory's owner, mode and free space; the agent's user must be able to write there"
    )
    message = f"{name}{where} cannot be {what}: {error.strerror or error}"
    return Fault(_CODES.get(error.errno or 0, ErrorCode.INTERNAL), message, hint)
