"""The group of a release's files, through which the app reads them."""

from __future__ import annotations

import grp
import os
import stat

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.complaint import agent_user
from dropdeploy.releases.removal import DIRECTORY_FLAGS


def find_group(name: str, root: int) -> int | Fault:
    """The number of the group ``name``; the group of the directory ``root`` if it is empty."""
    if not name:
        return os.fstat(root).st_gid
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return Fault(
            ErrorCode.NOT_AUTHORISED,
            f"there is no group {name} on this machine",
            f"make the group (groupadd --system {name}), or change `group` in the app's file",
        )


def prepare_group(fd: int, gid: int) -> None:
    """Have everything that is made in the directory ``fd`` belong to group ``gid``, if the agent may do that.

    Whether it worked can be seen by the directory's own group.
    """
    try:
        os.fchown(fd, -1, gid)
        # Without being a member, chown may work (CAP_CHOWN) and this bit is dropped silently all the same.
        os.fchmod(fd, 0o2755)
    except PermissionError:
        os.fchmod(fd, 0o755)
        return
    if not os.fstat(fd).st_mode & stat.S_ISGID:
        os.fchown(fd, -1, os.getegid())


def grant_group(fd: int, gid: int, name: str) -> str | Fault:
    """See that the tree ``fd`` belongs to group ``gid``; returns what is worth telling of it.

    ``name`` is the configured one. That it cannot be set is a fault; where the group is merely the default, the
    release may do without.
    """
    shown = name or _name_of(gid)
    if os.fstat(fd).st_gid == gid:
        return f"group {shown}"
    try:
        _give(fd, gid)
    except PermissionError:
        if not name:
            return f"group {_name_of(os.fstat(fd).st_gid)} ({agent_user()} may not set {shown})"
        return Fault(
            ErrorCode.NOT_AUTHORISED,
            f"the release cannot be given to group {name}: the agent's user ({agent_user()}) is no member of it",
            f"make it one (usermod -aG {name} {agent_user()}) and restart the agent",
        )
    return f"group {shown}"


def _give(fd: int, gid: int) -> None:
    os.fchown(fd, -1, gid)
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.chown(name, -1, gid, dir_fd=fd, follow_symlinks=False)
            continue
        inner = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        try:
            _give(inner, gid)
        finally:
            os.close(inner)


def _name_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
