"""A listening socket as systemd.socket(5) would make it, to be handed to an app as file descriptor 3."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Final

from dropdeploy.config.address import TcpAddress, UnixAddress, parse_address

BACKLOG: Final = 4096  # the kernel caps it at net.core.somaxconn


class Listener:
    """Listens at ``address`` (``host:port``, ``[host]:port`` or a path) from construction to ``close``.

    Raises OSError, EADDRINUSE among others; ValueError when the address is none.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        match parse_address(address):
            case TcpAddress(host, port):
                self._path = ""
                self.socket = _listen_tcp(host, port)
            case UnixAddress(path):
                self._path = path
                self.socket = _listen_unix(path)
            case _:
                raise ValueError(f"{address!r} is neither host:port nor the path of a socket")

    def close(self) -> None:
        """Stop listening; who waits in the backlog is refused."""
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        self.socket.close()


def _listen_tcp(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of the run before, in TIME_WAIT, would keep the address busy.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _clear_stale(path)
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - as SocketMode= of systemd.socket(5)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _clear_stale(path: str) -> None:
    """Remove a socket that nobody listens at any more; bind(2) would fail on it."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "exists and is no socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody's backlog is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
