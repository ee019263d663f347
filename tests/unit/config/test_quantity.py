"""Spans and sizes; the answers are those of ``systemd-analyze timespan`` (252) for the same texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.config.quantity import parse_rate, parse_size, parse_span, show_seconds
from dropdeploy.model.app import RateLimit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("+5", 5),
        ("5 6", 11),
        ("500ms", 0.5),
        ("5s", 5),
        ("2min", 120),
        ("1h 30min", 5400),
        ("1h30min", 5400),
        ("1h30", 3630),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("12.34 .56", 12.9),
        ("12.34s.56", 12.9),
        (" 5 min ", 300),
        ("1d1d", 172_800),
        ("5m", 300),
        ("5M", 13_149_000),
        ("1month", 2_629_800),
        ("1y", 31_557_600),
        ("2weeks", 1_209_600),
        ("5µs", 5e-6),
        ("5μs", 5e-6),
        *((f"1{unit}", 1e-6) for unit in ("us", "usec")),
        *((f"1{unit}", 1e-3) for unit in ("ms", "msec")),
        *((f"1{unit}", 1) for unit in ("s", "sec", "second", "seconds")),
        *((f"1{unit}", 60) for unit in ("m", "min", "minute", "minutes")),
        *((f"1{unit}", 3600) for unit in ("h", "hr", "hour", "hours")),
        *((f"1{unit}", 86_400) for unit in ("d", "day", "days")),
        *((f"1{unit}", 604_800) for unit in ("w", "week", "weeks")),
        *((f"1{unit}", 2_629_800) for unit in ("M", "month", "months")),
        *((f"1{unit}", 31_557_600) for unit in ("y", "year", "years")),
    ],
)
def test_a_span_is_what_systemd_reads(text: str, seconds: float) -> None:
    assert parse_span(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5x",
        "s",
        ".",
        "5.s",
        "12.34.56",
        "5,5s",
        "5e3",
        "0x10",
        "-5",
        "1h-5",
        "5S",
        "5Sec",
        "5mins",
        "5secs",
        "5ns",
        "infinity",
        "٥s",
        "5 s s",
        "1" * 400,
    ],
)
def test_what_systemd_refuses_is_no_span(text: str) -> None:
    assert parse_span(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("1B", 1),
        ("1K", 1024),
        ("512M", 512 * 1024**2),
        ("2G", 2 * 1024**3),
        ("2 G", 2 * 1024**3),
        ("1.5G", 1536 * 1024**2),
        ("1G 512M", 1536 * 1024**2),
        ("1G512M7", 1536 * 1024**2 + 7),
        ("1T", 1024**4),
        ("1P", 1024**5),
        ("1E", 1024**6),
    ],
)
def test_a_size_has_base_1024(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", " ", "G", "2g", "2GB", "2GiB", "-1", "1M 1G", "1 1", "1x", "1e3", "٢", "1" * 5000]
)
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("text", "rate"), [("30/1h", RateLimit(30, 3600)), ("1/5", RateLimit(1, 5)), (" 2 / 1h 30min", RateLimit(2, 5400))]
)
def test_a_rate(text: str, rate: RateLimit) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "30", "30/", "/1h", "0/1h", "30/0", "30/h", "-1/1h", "1.5/1h", "30/infinity", "1/1h/2"]
)
def test_what_is_no_rate(text: str) -> None:
    assert parse_rate(text) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0042, "0.004 s"),
        (0.05, "0.05 s"),
        (1.23, "1.2 s"),
        (5.0, "5 s"),
        (9.97, "10 s"),
        (119.94, "120 s"),
    ],
)
def test_seconds_for_a_sentence(seconds: float, words: str) -> None:
    assert show_seconds(seconds) == words


@given(st.text(alphabet="0123456789.+- hminsMKGµ", max_size=12))
def test_any_text_is_judged_without_a_crash(text: str) -> None:
    span, size = parse_span(text), parse_size(text)
    assert span is None or span >= 0
    assert size is None or size >= 0
