from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropdeploy.journald import Journal, is_journal
from tests.unit.journald import FakeJournald


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[FakeJournald]:
    with FakeJournald(tmp_path / "socket") as fake:
        yield fake


@pytest.fixture
def journal(tmp_path: Path, journald: FakeJournald) -> Iterator[Journal]:
    opened = Journal(str(tmp_path / "socket"))
    yield opened
    opened.close()


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), st.text(), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_sent_arrives(journal: Journal, journald: FakeJournald, fields: dict[str, str]) -> None:
    journal.send(fields)
    assert journald.receive() == fields


def test_a_value_cannot_become_another_field(journal: Journal, journald: FakeJournald) -> None:
    fields = {"DROPDEPLOY_UPLOAD": "a\nPRIORITY=0\nMESSAGE=all is lost", "MESSAGE": "b\udce4h.zip"}
    journal.send(fields)
    assert journald.receive() == fields | {"MESSAGE": "b\\udce4h.zip"}


def test_an_entry_that_no_datagram_holds(journal: Journal, journald: FakeJournald) -> None:
    journal.send({"MESSAGE": "x" * 2_000_000, "PRIORITY": "3"})
    assert journald.receive() == {"MESSAGE": "x" * 2_000_000, "PRIORITY": "3"}


def test_nobody_there(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "nobody"))
    with pytest.raises(FileNotFoundError):
        journal.send({"MESSAGE": "x"})
    journal.close()


def test_the_stream_is_known_by_its_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert is_journal(writing)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not is_journal(writing)
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not is_journal(writing)
    os.close(reading)
    os.close(writing)
    assert not is_journal(writing)
