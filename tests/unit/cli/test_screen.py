import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.cli.screen import Colour, Screen, plain


@given(st.text(st.characters()))
def test_nothing_that_is_plain_moves_the_cursor(text: str) -> None:
    assert plain(text).isprintable()


def test_plain_spells_out_what_it_takes_away() -> None:
    assert plain("ok\x1b[2Jgone\r") == "ok\\x1b[2Jgone\\r"
    assert plain(os.fsdecode(b"build-\xff.zip")) == "build-\\xff.zip"
    assert plain("a\tb") == "a   b"
    assert plain("Ümläut 構築") == "Ümläut 構築"


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        yield stream
    os.close(ours)


def test_colours_are_for_terminals(terminal: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen.of(terminal).paint("good", Colour.GOOD) == "\x1b[32mgood\x1b[0m"
    assert Screen.of(terminal).is_live
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen.of(terminal).paint("good", Colour.GOOD) == "good"
    assert Screen.of(terminal).is_live
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen.of(terminal).is_live
    assert Screen.of(io.StringIO()).paint("good", Colour.GOOD) == "good"
    assert Screen.of(io.StringIO()).width is None


def test_the_width_is_the_streams_own(terminal: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 97, 0, 0))
    assert Screen.of(terminal).width == 97
    monkeypatch.setenv("COLUMNS", "60")
    assert Screen.of(terminal).width == 60


def test_marks_are_for_encodings_that_have_them() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert Screen.of(ascii_only).mark("✓", "ok") == "ok"
    utf8 = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert Screen.of(utf8).mark("✓", "ok") == "✓"


def test_a_reader_that_goes_away_does_not_end_the_command() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        screen = Screen.of(stream)
        screen.line("nobody reads this")
        screen.line("nor this")
