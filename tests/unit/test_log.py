from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging
from dropdeploy import log
log.begin()
logging.warning("%s: deploy 1: %s", "shop", "a\\n<3>shop: all is lost\\x1b[31m.tar.gz")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("it failed")
"""


@pytest.mark.parametrize("stream", ["", "8:1"])
def test_a_name_with_a_newline_makes_no_second_event(stream: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"JOURNAL_STREAM": stream} if stream else {},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert lines[0].endswith("shop: deploy 1: a <3>shop: all is lost.tar.gz")
    assert lines[0].startswith("<4>shop" if stream else "20")
    assert lines[1].endswith("it failed")
    assert lines[2].endswith("Traceback (most recent call last):")
    assert lines[-1].endswith("ZeroDivisionError: division by zero")
    assert all(line.startswith("<3>") for line in lines[1:]) == bool(stream)
