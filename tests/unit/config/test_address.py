"""Addresses and health URLs."""

import pytest

from dropdeploy.config.address import (
    HttpTarget,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_health_url,
    parse_http_url,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("[::1]:8080", TcpAddress("::1", 8080)),
        ("[0:0:0:0:0:0:0:1]:1", TcpAddress("::1", 1)),
        ("0.0.0.0:65535", TcpAddress("0.0.0.0", 65535)),
        ("/run/app.sock", UnixAddress("/run/app.sock")),
        ("/run/" + "a" * 102, UnixAddress("/run/" + "a" * 102)),
    ],
)
def test_an_address(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "::1:8080",
        "[127.0.0.1]:80",
        "127.0.0.1:８０",
        "run/app.sock",
        "/run/",
        "/run/" + "a" * 103,
        "/run/a\0b",
        "1.2.3.4:+1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("one", "other", "is_overlap"),
    [
        (TcpAddress("127.0.0.1", 80), TcpAddress("127.0.0.1", 80), True),
        (TcpAddress("127.0.0.1", 80), TcpAddress("0.0.0.0", 80), True),
        (TcpAddress("::", 80), TcpAddress("::1", 80), True),
        (TcpAddress("127.0.0.1", 80), TcpAddress("127.0.0.2", 80), False),
        (TcpAddress("0.0.0.0", 80), TcpAddress("0.0.0.0", 81), False),
    ],
)
def test_overlap(one: TcpAddress, other: TcpAddress, is_overlap: bool) -> None:
    assert one.overlaps(other) is is_overlap
    assert other.overlaps(one) is is_overlap


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://127.0.0.1:3000/health", HttpTarget("http://127.0.0.1:3000/health")),
        ("https://www.example.com/a?b=c", HttpTarget("https://www.example.com/a?b=c")),
        ("http://[::1]:3000/", HttpTarget("http://[::1]:3000/")),
        ("unix:/run/app.sock:/health?deep=1", HttpTarget("http://localhost/health?deep=1", "/run/app.sock")),
        ("unix:/run/app.sock:/", HttpTarget("http://localhost/", "/run/app.sock")),
    ],
)
def test_a_health_url(text: str, target: HttpTarget) -> None:
    assert parse_health_url(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:3000/health",
        "ftp://127.0.0.1/",
        "http://",
        "http:///health",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:x/",
        "http://[::1/",
        "http://a b/",
        "http://a/\n",
        "http://a/#f",
        "http://user:secret@127.0.0.1/",
        "unix:/run/app.sock",
        "unix:run/app.sock:/health",
        "unix:/run/app.sock:health",
        "unix:/" + "a" * 107 + ":/",
        "unix:/run/:/health",
        "http://bücher.example/",
    ],
)
def test_what_is_no_health_url(text: str) -> None:
    assert parse_health_url(text) is None


def test_a_webhook_may_carry_credentials() -> None:
    assert parse_http_url("https://user:secret@hooks.example.com/x") is not None
