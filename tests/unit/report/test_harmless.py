"""Text from strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.report.harmless import MAX_LINE, MAX_LOG, end_of_log, harmless, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größe, 日本, 👍", "plain, größe, 日本, 👍"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mError\x1b[0m: \x1b[1;38;5;196mbad\x1b[K", "Error: bad"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("\x1bc\x07\x00\x7f\x9b31m", r"\x1bc\x07\x00\x7f\x9b31m"),
        ("evil\u202egnp.exe\u2028x", r"evil\u202egnp.exe\u2028x"),
        ("caf\udce9.zip \ud800", r"caf\xe9.zip \ud800"),
    ],
)
def test_what_is_unfit_is_left_out_or_spelt_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_one_line() -> None:
    assert one_line(" a\r\nb\tc  d\n") == "a b c  d"
    long = one_line("x" * 5000)
    assert len(long) == MAX_LINE
    assert long.endswith("x…")


def test_a_short_log_stays_whole() -> None:
    assert end_of_log("one\ntwo\n") == "one\ntwo\n"
    assert end_of_log("") == ""


def test_of_a_long_log_the_end_is_kept_in_whole_lines() -> None:
    log = end_of_log("\n".join(f"line {number} {'.' * 90}" for number in range(1000)))
    first, *rest = log.split("\n")
    assert len(log) <= MAX_LOG + 100
    assert first == f"[{1000 - len(rest)} earlier lines left out]"
    assert rest[-1].startswith("line 999 ")
    assert rest[0].startswith(f"line {1000 - len(rest)} ")


def test_a_log_without_line_ends_is_cut() -> None:
    assert len(end_of_log("x" * 10_000_000)) == MAX_LINE


@given(st.text(alphabet=st.characters(), max_size=50))
def test_any_text_becomes_utf_8_without_control_characters(text: str) -> None:
    shown = harmless(text)
    shown.encode()
    assert all(char.isprintable() or char in "\n\t" or ord(char) > 0x9F for char in shown)
