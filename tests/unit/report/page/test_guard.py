from __future__ import annotations

import pytest

from dropdeploy.config.address import TcpAddress, UnixAddress, is_loopback
from dropdeploy.report.page.guard import Entry, Guard, is_local_name

LOOPBACK = TcpAddress("127.0.0.1", 8731)
TOKEN = "0123456789abcdef"


def judge(guard: Guard, host: str = "localhost", authorization: str = "", cookie: str = "", given: str = "") -> Entry:
    headers = {"Authorization": authorization} if authorization else {}
    return guard.judge(host, headers, cookie, given)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8731", "localhost.:80", "127.0.0.1", "127.0.0.1:9000", "127.1.2.3", "[::1]", "[::1]:8731"],
)
def test_names_of_the_machine_itself(host: str) -> None:
    assert is_local_name(host)
    assert judge(Guard(LOOPBACK), host) is Entry.WELCOME


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8731",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0:8731",
        "192.0.2.1",
        "[::]",
        "[2001:db8::1]:80",
        "localhost@evil.example",
        "[",
        "::1]x",
    ],
)
def test_a_name_that_leads_here_from_elsewhere_is_refused(host: str) -> None:
    assert not is_local_name(host)
    assert judge(Guard(LOOPBACK), host) is Entry.FOREIGN_NAME


def test_a_proxy_before_a_unix_socket_may_send_any_name() -> None:
    assert judge(Guard(UnixAddress("/run/x.sock")), "deploys.example.com") is Entry.WELCOME


def test_a_token() -> None:
    guard = Guard(TcpAddress("0.0.0.0", 8731), TOKEN)
    assert judge(guard, "deploys.example.com") is Entry.STRANGER
    assert judge(guard, authorization=f"Bearer {TOKEN}") is Entry.WELCOME
    assert judge(guard, authorization=f"bearer  {TOKEN} ") is Entry.WELCOME
    assert judge(guard, cookie=guard.cookie) is Entry.WELCOME
    assert judge(guard, given=TOKEN) is Entry.WITH_TOKEN
    for wrong in ("", TOKEN[:-1], TOKEN + "0", "naïve", "\udcff"):
        assert judge(guard, authorization=f"Bearer {wrong}", cookie=wrong, given=wrong) is Entry.STRANGER
    assert judge(guard, authorization=f"Basic {TOKEN}") is Entry.STRANGER
    assert judge(guard, cookie=TOKEN) is Entry.STRANGER  # the cookie is not the token
    assert TOKEN not in guard.cookie
    assert guard.cookie != Guard(LOOPBACK, TOKEN + "0").cookie


def test_who_reaches_an_address() -> None:
    assert is_loopback(LOOPBACK)
    assert is_loopback(TcpAddress("::1", 1))
    assert is_loopback(UnixAddress("/run/x.sock"))
    assert not is_loopback(TcpAddress("0.0.0.0", 1))
    assert not is_loopback(TcpAddress("::", 1))
