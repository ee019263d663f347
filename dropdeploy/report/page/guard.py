"""Who may read the page: whom the address lets in, and whom the token.   (pure)

On loopback everybody on the machine may read, and so could a foreign web page in a browser there, under a name of its
own that leads to 127.0.0.1 (DNS rebinding): the Host header gives it away. With a token no name matters, as the browser
keeps the cookie for ours.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dropdeploy.config.address import TcpAddress, UnixAddress

COOKIE = "dropdeploy"


class Entry(Enum):
    """What becomes of a request."""

    WELCOME = "welcome"
    WITH_TOKEN = "with token"  # noqa: S105 - in the address: to be kept in a cookie, and taken out of the address
    STRANGER = "stranger"  # no token, or a wrong one
    FOREIGN_NAME = "foreign name"  # not the name under which this is read


@dataclass(frozen=True, slots=True)
class Guard:
    """``token`` is "" where none is asked for."""

    address: TcpAddress | UnixAddress
    token: str = ""

    def judge(self, host: str, headers: Mapping[str, str], cookie: str, given: str) -> Entry:
        """``host`` is the Host header, ``headers`` the others, ``given`` the token in the address."""
        if self.token:
            if given:
                return Entry.WITH_TOKEN if _is_same(given, self.token) else Entry.STRANGER
            kind, _, bearer = headers.get("Authorization", "").partition(" ")
            is_known = kind.lower() == "bearer" and _is_same(bearer.strip(), self.token)
            return Entry.WELCOME if is_known or _is_same(cookie, self.cookie) else Entry.STRANGER
        if isinstance(self.address, UnixAddress) or is_local_name(host):
            return Entry.WELCOME
        return Entry.FOREIGN_NAME

    @property
    def cookie(self) -> str:
        """What a browser keeps in the token's place: it opens this page, and nothing else that has the same token."""
        return hmac.new(self.token.encode(), b"dropdeploy status page", "sha256").hexdigest()


def is_local_name(host: str) -> bool:
    """A Host header that names the machine itself, with any port (it may have been forwarded)."""
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())
