from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.units.output import KEPT_LINES, LINE_CHARS, OutputRing, clean_line


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("progress 10%\rprogress 20%\r", "progress 20%"),
        ("tab\tstays", "tab\tstays"),
        ("bell\x07 nul\x00 c1\x9b", "bell nul c1"),
        ("ünïcödé ✓", "ünïcödé ✓"),
        ("x" * LINE_CHARS, "x" * LINE_CHARS),
        ("x" * (LINE_CHARS + 1), "x" * LINE_CHARS + "…"),
    ],
)
def test_lines_fit_to_be_shown(raw: str, clean: str) -> None:
    assert clean_line(raw) == clean


@given(st.text())
def test_no_control_character_gets_through(text: str) -> None:
    assert not [char for char in clean_line(text) if ord(char) < 0x20 and char not in "\t\n"]
    assert not [char for char in clean_line(text) if 0x7F <= ord(char) <= 0x9F]


@given(st.lists(st.binary(max_size=40)))
def test_pieces_make_the_same_lines_as_the_whole(pieces: list[bytes]) -> None:
    one, many = OutputRing(), OutputRing()
    one.feed(b"".join(pieces))
    for piece in pieces:
        many.feed(piece)
    one.flush()
    many.flush()
    assert one.since(0, 1000) == many.since(0, 1000)


def test_lines_since_a_cursor() -> None:
    ring = OutputRing()
    ring.feed(b"one\ntwo\n")
    cursor = ring.cursor
    assert ring.since(cursor, 10) == []
    ring.feed(b"three\nfo")
    ring.feed(b"ur\nfive")
    assert ring.since(cursor, 10) == ["three", "four"]
    ring.flush()
    assert ring.since(cursor, 10) == ["three", "four", "five"]
    assert ring.since(cursor, 2) == ["four", "five"]
    assert ring.since(0, 10) == ["one", "two", "three", "four", "five"]


def test_the_ring_keeps_the_last_lines_only() -> None:
    ring = OutputRing()
    for number in range(KEPT_LINES + 50):
        ring.feed(b"%d\n" % number)
    kept = ring.since(0, 10 * KEPT_LINES)
    assert (len(kept), kept[0], kept[-1]) == (KEPT_LINES, "50", str(KEPT_LINES + 49))


def test_a_line_without_end_is_bounded() -> None:
    ring = OutputRing()
    for _ in range(1000):
        ring.feed(b"x" * 1000)
    assert ring.cursor > 10
    assert all(len(line) <= LINE_CHARS + 1 for line in ring.since(0, 1000))
