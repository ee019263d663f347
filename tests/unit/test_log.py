from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dropdeploy import diary
from tests.unit.journald import FakeJournald

PROGRAM = """
import logging, sys
from dropdeploy import log
from dropdeploy.diary import Kind, about
from dropdeploy.journald import Journal
log.begin(Journal(sys.argv[1]))
extra = about(Kind.BEGUN, "shop", 1, upload="a\\nMESSAGE=b")
logging.warning("%s: deploy 1: %s", "shop", "a\\n<3>shop: all is lost\\x1b[31m.tar.gz", extra=extra)
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("it failed")
"""


def run(journal: Path, *, is_stream: bool) -> list[str]:
    """Run the program; ``is_stream``: it is told that its standard error is the journal. Returns its lines there."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}" if is_stream else "8:1"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(journal)], env=named, stderr=writing) as process:
        os.close(writing)
        with open(reading, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    assert process.returncode == 0, lines
    return lines


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_name_with_a_newline_makes_no_second_event(tmp_path: Path, is_stream: bool) -> None:
    lines = run(tmp_path / "nobody", is_stream=is_stream)
    assert lines[0].endswith("shop: deploy 1: a <3>shop: all is lost.tar.gz")
    assert lines[0].startswith("<4>shop" if is_stream else "20")
    assert lines[1].endswith("it failed")
    assert lines[2].endswith("Traceback (most recent call last):")
    assert lines[-1].endswith("ZeroDivisionError: division by zero")
    assert all(line.startswith("<3>") for line in lines[1:]) == is_stream


def test_under_systemd_an_event_is_one_entry_with_its_fields(tmp_path: Path) -> None:
    with FakeJournald(tmp_path / "socket") as journald:
        assert run(tmp_path / "socket", is_stream=True) == []  # nothing twice
        event, defect = journald.receive(), journald.receive()
    assert event == {
        "MESSAGE": "shop: deploy 1: a <3>shop: all is lost.tar.gz",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "dropdeploy",
        "MESSAGE_ID": diary.Kind.BEGUN,
        "DROPDEPLOY_APP": "shop",
        "DROPDEPLOY_ID": "1",
        "DROPDEPLOY_UPLOAD": "a\nMESSAGE=b",
    }
    assert defect["MESSAGE"].startswith("it failed\nTraceback (most recent call last):\n")
    assert defect["PRIORITY"] == "3"


def test_where_standard_error_goes_elsewhere_the_journal_gets_nothing(tmp_path: Path) -> None:
    with FakeJournald(tmp_path / "socket") as journald:
        assert run(tmp_path / "socket", is_stream=False)
        assert journald.is_silent()


def test_every_kind_of_event_is_explained_once() -> None:
    catalog = (Path(__file__).parents[2] / "packaging/systemd/dropdeploy.catalog").read_text()
    explained = re.findall(r"^-- ([0-9a-f]{32})\nSubject: .+\nDefined-By: dropdeploy\n", catalog, re.MULTILINE)
    assert explained == [kind.value for kind in diary.Kind]
    used = set(re.findall(r"@(DROPDEPLOY_[A-Z]+)@", catalog))
    assert used <= {"DROPDEPLOY_APP", "DROPDEPLOY_ID", "DROPDEPLOY_ACTION", "DROPDEPLOY_STATUS", "DROPDEPLOY_UPLOAD"}
