"""No descriptor left: told apart from what is wrong with a file or a directory."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropdeploy.intake import dropdir
from dropdeploy.model.fault import ErrorCode
from dropdeploy.releases.complaint import fault_of
from dropdeploy.shortage import is_shortage


@contextmanager
def no_descriptor() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_which_errors() -> None:
    assert all(is_shortage(OSError(number, "x")) for number in (errno.EMFILE, errno.ENFILE))
    assert not any(is_shortage(OSError(number, "x")) for number in (errno.ENOSPC, errno.EACCES, errno.ENOENT))


@pytest.mark.parametrize(("number", "is_short"), [(errno.EMFILE, True), (errno.EIO, False)])
def test_a_fault_tells(number: int, is_short: bool) -> None:
    fault = fault_of(OSError(number, os.strerror(number)), "make a directory", "/home/shop")
    assert (fault.code, fault.is_shortage) == (ErrorCode.INTERNAL, is_short)


def test_a_marker_that_cannot_be_opened_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "rollback").write_text("20260123-143022\n")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with no_descriptor(), pytest.raises(OSError, match="Too many open files"):
            dropdir._marker_text("rollback", directory)
        assert dropdir._marker_text("rollback", directory) == "20260123-143022"
        assert dropdir._marker_text("absent", directory) == ""
    finally:
        os.close(directory)
