"""The receiving end of journald's native protocol, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ describes it."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path


class FakeJournald:
    """Listens at ``path``."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def __enter__(self) -> FakeJournald:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self) -> dict[str, str]:
        """The fields of the next entry."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if descriptors:
            with open(descriptors[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return {name: value.decode() for name, value in _parse(data)}

    def is_silent(self) -> bool:
        """Nothing has come."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return not self._socket.recv(1)
        return True


def _parse(data: bytes) -> list[tuple[str, bytes]]:
    fields = []
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest.startswith(b"\n"), rest
            rest = rest[1:]
        fields.append((name.decode(), value))
        data = rest
    return fields
