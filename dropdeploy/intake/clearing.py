"""Removing what was worked off, and nothing that came under its name since. Directories are descriptors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import replace

from dropdeploy.intake import wholeness
from dropdeploy.intake.listing import Closed
from dropdeploy.intake.names import READY, SIDECARS
from dropdeploy.model.request import Format, Upload, Version


def as_it_is_now(upload: Upload, sha256: str, directory: int) -> Upload:
    """See ``DropDirectory``. Raises OSError."""
    judged = upload.version
    now = _version(upload.name, directory)
    if now is None or (now.inode, now.size) != (judged.inode, judged.size):
        return upload
    if now == judged or not sha256:
        return upload
    with open(os.open(upload.name, wholeness.OPEN_FLAGS, dir_fd=directory), "rb") as file:
        closed = wholeness.take_lease(file.fileno())
        if closed is Closed.NO:
            return upload
        is_same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        then = wholeness.version_of(os.fstat(file.fileno()))
        # Under a lease nobody has written; the times may have been set once more.
        is_held = closed is Closed.YES and wholeness.is_lease_whole(file.fileno()) and then.inode == judged.inode
        return replace(upload, version=then) if is_same and (is_held or then == now) else upload


def consume_ready(upload: Upload, directory: int) -> Version | None:
    """Remove the ``.ready`` that asked for what was done; returns its version, None when there is none such."""
    ready = _version(upload.name + READY, directory)
    is_directory = upload.format is Format.DIRECTORY
    is_same = is_directory or _version(upload.name, directory) == upload.version
    # A `.ready` that came while an unchanged archive was worked on asked for just that; one beside a directory
    # (or beside new bytes) that is not the one taken asks for what has come since.
    consumed = ready if (is_same and not is_directory) or ready == upload.go else None
    if consumed is not None:
        remove(upload.name + READY, consumed, directory)
    return consumed


def withdraw(upload: Upload, directory: int) -> bool:
    """Remove an archive with its sidecars if it is still this version and nobody writes to it. Raises OSError.

    Somebody may be about to overwrite it, and whoever has found it by its name must not lose a byte: it is renamed
    first, under a lease. An opener that was faster than that shows in the lease, and gets the name back.
    """
    if not _withdraw(upload.name, upload.version, directory):
        return False
    for ending in SIDECARS:
        with contextlib.suppress(OSError):
            os.unlink(upload.name + ending, dir_fd=directory)
    return True


def _withdraw(name: str, version: Version, directory: int) -> bool:
    # Of the kind that is swept after a crash, see report/dropfiles.
    leaving = f".dropdeploy-{secrets.token_hex(8)}.tmp"
    if _version(name, directory) != version:
        return False
    fd = os.open(name, wholeness.OPEN_FLAGS, dir_fd=directory)
    try:
        closed = wholeness.take_lease(fd)
        if closed is Closed.NO or wholeness.version_of(os.fstat(fd)) != version:
            return False
        os.rename(name, leaving, src_dir_fd=directory, dst_dir_fd=directory)
        is_wanted = closed is Closed.YES and not wholeness.is_lease_whole(fd)
        if is_wanted:
            with contextlib.suppress(FileExistsError):  # something newer has the name already
                os.link(leaving, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.unlink(leaving, dir_fd=directory)
        return not is_wanted
    finally:
        os.close(fd)


def _version(name: str, directory: int) -> Version | None:
    try:
        return wholeness.version_of(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except OSError:
        return None


def remove(name: str, version: Version, directory: int) -> bool:
    """Remove the file if it is still this one."""
    if _version(name, directory) != version:
        return False
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False
    return True
