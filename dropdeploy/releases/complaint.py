"""What the kernel's refusals mean to the person who uploaded."""

from __future__ import annotations

import errno
import getpass
import os

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.shortage import is_shortage

DISK_FAILS = "the disk or its file system fails: the kernel's log on the server (`journalctl -k`) tells more"


def agent_user() -> str:
    """The user as whom the agent runs, for hints."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this number
        return str(os.geteuid())


def fault_of(error: OSError, doing: str, where: str) -> Fault:
    """A fault for an OSError. ``doing`` completes "could not …", ``where`` is the directory to look at."""
    message = f"could not {doing}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault(ErrorCode.NO_SPACE, message, space_hint(where))
    if error.errno == errno.EROFS:
        return Fault(ErrorCode.NOT_AUTHORISED, message, f"the file system of {where} is mounted read-only: see why")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Fault(ErrorCode.NOT_AUTHORISED, message, rights_hint(where))
    hint = f"look at {where} and at the agent's journal"
    if error.errno == errno.EIO:
        hint = DISK_FAILS
    if is_shortage(error):
        hint = "no file descriptor is left on the server: raise LimitNOFILE= of the agent's unit, or fs.file-max"
    return Fault(ErrorCode.INTERNAL, message, hint, is_shortage=is_shortage(error))


def space_hint(where: str) -> str:
    """What to do where there is no space."""
    return f"make room on the file system of {where}, or keep fewer releases (`keep`)"


def rights_hint(where: str) -> str:
    """What to do where the agent may not write."""
    return f"the agent's user ({agent_user()}) needs to own {where}, or to have read, write and search permission on it"
