"""Where something listens: TCP address or Unix socket, and the URL of a health check that may name either."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# sockaddr_un.sun_path holds 108 bytes with the closing NUL (unix(7)).
MAX_SOCKET_PATH_BYTES = 107

_UNIX_URL = re.compile(r"unix:(/[^:]+):(/.*)")
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A literal IPv4 or IPv6 address (without brackets) and a port from 1 to 65535."""

    host: str
    port: int

    def overlaps(self, other: TcpAddress) -> bool:
        """Binding both would fail or share: same port, and the same address or one that stands for all."""
        hosts = {self.host, other.host}
        return self.port == other.port and (len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"}))  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a Unix socket, short enough for the kernel."""

    path: str


def is_loopback(address: TcpAddress | UnixAddress) -> bool:
    """Only who is on this machine reaches it."""
    return isinstance(address, UnixAddress) or ipaddress.ip_address(address.host).is_loopback


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """What to GET: ``url`` is http:// or https://. Where ``socket`` is set it goes over that Unix socket."""

    url: str
    socket: str = ""


def parse_address(text: str) -> TcpAddress | UnixAddress | None:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``/run/app.sock``; names are not looked up, so none are taken."""
    if text.startswith("/"):
        return UnixAddress(text) if is_socket_path(text) else None
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
        return None
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
    except ValueError:
        return None
    return TcpAddress(str(address), int(port)) if is_bracketed == (address.version == 6) else None


def is_socket_path(text: str) -> bool:
    """Absolute, a file's name at its end, without control characters, and it fits ``sun_path``."""
    size = len(text.encode("utf-8", "surrogateescape"))
    return text.startswith("/") and not text.endswith("/") and text.isprintable() and size <= MAX_SOCKET_PATH_BYTES


def parse_http_url(text: str) -> HttpTarget | None:
    """An http:// or https:// URL in printable ASCII with a host, and a possible port; a fragment has no meaning."""
    if not _PRINTABLE.fullmatch(text):
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    is_url = parts.scheme in ("http", "https") and bool(host) and port != 0 and not parts.fragment
    return HttpTarget(text) if is_url else None


def parse_health_url(text: str) -> HttpTarget | None:
    """``http://…``, ``https://…`` or ``unix:/run/app.sock:/path``.

    User name and password are not taken: the URL is shown to every uploader.
    """
    if unix := _UNIX_URL.fullmatch(text):
        socket, path = unix.groups()
        is_target = is_socket_path(socket) and _PRINTABLE.fullmatch(path) and "#" not in path
        return HttpTarget(f"http://localhost{path}", socket) if is_target else None
    target = parse_http_url(text)
    return target if target and "@" not in urlsplit(text).netloc else None
