"""Linking into a release what outlives releases."""

from __future__ import annotations

import errno
import os
import stat

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.removal import DIRECTORY_FLAGS, remove_entry

SHARED = "shared"
_DIRECTORY_MODE = 0o2775  # the app, of the group, writes here, and what it makes stays the group's


def link_shared(root: int, path: str, release: int, entries: tuple[str, ...], gid: int) -> Fault | None:
    """Make each of ``entries`` (as in the app's file: a trailing slash means a directory) a link in ``release``.

    ``root`` is the app's directory, ``path`` its name for messages, ``release`` the staging directory, two levels
    below it. What the build holds in a link's place makes way for it. Repeating it is no fault. Raises OSError.
    """
    for entry in entries:
        parts = [part for part in entry.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or entry.startswith("/"):
            return Fault(ErrorCode.INTERNAL, f"`shared` names {entry!r}, which is not a path below shared/")
        fault = _provide(root, path, parts, is_directory=entry.endswith("/"), gid=gid)
        fault = fault or _link(release, parts, gid)
        if fault is not None:
            return fault
    return None


def _provide(root: int, path: str, parts: list[str], *, is_directory: bool, gid: int) -> Fault | None:
    """See that the shared file or directory is there; a directory is made when missing."""
    name = "/".join([SHARED, *parts])
    try:
        found = os.stat(name, dir_fd=root)  # through links: the administrator may keep shared things elsewhere
    except (FileNotFoundError, NotADirectoryError):
        if is_directory:
            return _make(root, path, parts, gid)
        return Fault(
            ErrorCode.SHARED_MISSING,
            f"the shared file {path}/{name} does not exist",
            f"create {path}/{name}, readable for the app, or take '{'/'.join(parts)}' out of `shared`",
        )
    if is_directory and not stat.S_ISDIR(found.st_mode):
        return Fault(
            ErrorCode.SHARED_MISSING,
            f"{path}/{name} should be a directory (its entry in `shared` ends in a slash) and is none",
            f"make {path}/{name} a directory, or take the slash off the entry in `shared`",
        )
    return None


def _make(root: int, path: str, parts: list[str], gid: int) -> Fault | None:
    """Make a shared directory, and those above it. Not through links: the app can make some in ``shared/``."""
    try:
        # shared/ itself is the administrator's, and may be a link.
        shared = _enter(root, SHARED, gid, mode=0o755, flags=os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(_descend(shared, parts, gid, mode=_DIRECTORY_MODE))
        finally:
            os.close(shared)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        name = "/".join([SHARED, *parts])
        return Fault(
            ErrorCode.SHARED_MISSING,
            f"the shared directory {path}/{name} does not exist, and the way to it leads through a file or a link",
            f"make the directory {path}/{name}",
        )
    return None


def _link(release: int, parts: list[str], gid: int) -> Fault | None:
    """Make the link, and the directories above it, in the release."""
    # From releases/ID/a/b the way to shared/a/b/c is ../../../../shared/a/b/c.
    target = "../" * (len(parts) + 1) + "/".join([SHARED, *parts])
    try:
        above = _descend(release, parts[:-1], gid, mode=0o755)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        return Fault(
            ErrorCode.UNSAFE_ENTRY,
            f"the shared entry '{'/'.join(parts)}' has no place: a directory above it is a file or a link in the build",
            "leave that file or link out of the build",
        )
    try:
        remove_entry(above, os.fsencode(parts[-1]))
        os.symlink(target, parts[-1], dir_fd=above)
    finally:
        os.close(above)
    return None


def _descend(directory: int, parts: list[str], gid: int, *, mode: int) -> int:
    """A descriptor of the directory ``parts`` below ``directory``, made when missing, without following links."""
    fd = os.dup(directory)
    for part in parts:
        try:
            inner = _enter(fd, part, gid, mode=mode)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _enter(directory: int, name: str, gid: int, *, mode: int, flags: int = DIRECTORY_FLAGS) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        return os.open(name, flags, dir_fd=directory)
    fd = os.open(name, flags, dir_fd=directory)
    try:
        os.fchown(fd, -1, gid)
    except PermissionError:
        mode &= 0o777  # there is no group to pass on; the step's detail, or its fault, tells of the group
    os.fchmod(fd, mode)
    return fd
