"""Entries for systemd's journal with fields, in its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
PATIENCE_S = 1.0
"""journald reads quickly or is not well: whoever logs is not held up for longer."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def is_journal(fd: int) -> bool:
    """Whether what is written to ``fd`` goes to the journal: ``$JOURNAL_STREAM`` of systemd.exec(5) names it."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class Journal:
    """The way to journald. Nothing is kept open between it and us, so it may be restarted."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._channel.settimeout(PATIENCE_S)

    def send(self, fields: Mapping[str, str]) -> None:
        """Write one entry. Names are of A-Z, 0-9 and _, values may be anything. Raises OSError."""
        entry = b"".join(_encode(name, value) for name, value in fields.items())
        try:
            self._channel.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_as_file(entry)

    def close(self) -> None:
        """Let go of the socket."""
        self._channel.close()

    def _send_as_file(self, entry: bytes) -> None:
        """What no datagram holds goes as a sealed memfd, so that journald can map it without fear."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with contextlib.closing(os.fdopen(fd, "wb", buffering=0)) as file:
            file.write(entry)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
            self._channel.sendmsg([], rights, 0, self._path)


def _encode(name: str, value: str) -> bytes:
    """``NAME=value``, or, where a newline would end it early, the name and the value with its length before it."""
    content = value.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode(), content)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(content)), content)
