from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropdeploy.units import logfile
from dropdeploy.units.logfile import LogFile, log_path, read_log


def texts(path: Path, lines: int | None = None, **span: datetime | None) -> list[str]:
    (found,) = read_log(path, since=span.get("since"), until=span.get("until"), lines=lines, follows=False)
    return [line.text for line in found]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = log_path(tmp_path, "shop.service")
    assert texts(path) == []
    log = LogFile(path)
    log.append("booting v1")
    log.append("  indented, and b\udce4d")
    assert texts(path) == ["booting v1", "  indented, and b\\udce4d"]
    assert texts(path, 1) == ["  indented, and b\\udce4d"]
    assert path == tmp_path / "logs/shop.log"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_span_of_time(tmp_path: Path) -> None:
    path = log_path(tmp_path, "shop.service")
    path.parent.mkdir()
    begin = datetime(2026, 1, 23, tzinfo=UTC)
    lines = [f"{(begin + timedelta(seconds=second)).isoformat()} line {second}\n" for second in range(5)]
    path.write_text("not a line of ours\n" + "".join(lines) + "2026")
    span = {"since": begin + timedelta(seconds=1), "until": begin + timedelta(seconds=3)}
    assert texts(path, **span) == ["line 1", "line 2"]


def test_only_so_much_is_kept_and_a_reader_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "MAX_BYTES", 1000)
    path = log_path(tmp_path, "shop.service")
    log = LogFile(path)
    following = read_log(path, since=None, until=None, lines=None, follows=True)
    assert next(following) == []
    read = []
    for number in range(100):
        log.append(f"line {number}")
        if number % 7 == 0:
            read += [line.text for line in next(following)]
    read += [line.text for line in next(following)]
    assert read == [f"line {number}" for number in range(100)]
    assert set(os.listdir(path.parent)) <= {"shop.log", "shop.log.1"}
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 2200
    assert texts(path)[-1] == "line 99"


def test_a_disk_that_takes_nothing_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no directory")
    LogFile(log_path(tmp_path, "shop.service")).append("x")
