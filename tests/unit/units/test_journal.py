"""journalctl with a mind of its own; the real one is asked in the box."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dropdeploy.units import journal
from dropdeploy.units.journal import cursor_now, read_tail
from tests.unit.units.contract import at_most

Script = Callable[[str], None]


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Installs a shell script in its place."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(script: str) -> None:
        program = tmp_path / "journalctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


def entry(message: object, *, later_s: float = 1.0, boot: str | None = None) -> str:
    """A line of journalctl's, that long after now by both clocks."""
    return json.dumps(
        {
            "MESSAGE": message,
            "_BOOT_ID": boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""),
            "__MONOTONIC_TIMESTAMP": str(int((time.monotonic() + later_s) * 1e6)),
            "__REALTIME_TIMESTAMP": str(int((time.time() + later_s) * 1e6)),
        }
    )


def told(tmp_path: Path, *entries: str) -> str:
    (tmp_path / "entries").write_text("".join(f"{line}\n" for line in entries))
    return f"cat '{tmp_path}/entries'"


async def test_only_lines_after_the_cursor(journalctl: Script, tmp_path: Path) -> None:
    journalctl(
        told(
            tmp_path,
            entry("long ago", later_s=-1),
            entry("another boot, before", later_s=-1, boot="f" * 32),
            entry("another boot, after", boot="f" * 32),
            entry("now"),
        )
    )
    assert await read_tail("app.service", cursor_now(), 40, is_user=False) == "another boot, after\nnow"
    assert (await read_tail("app.service", "", 40, is_user=False)).startswith("long ago\n")


async def test_messages_of_all_kinds(journalctl: Script, tmp_path: Path) -> None:
    journalctl(
        told(
            tmp_path,
            entry("two\nlines"),
            entry(list(b"\x1b[31mred\xff\x1b[0m")),
            entry(None),
            entry(["first", "second"]),
        )
    )
    assert (await read_tail("app.service", "", 40, is_user=False)).split("\n") == ["two", "lines", "red�", "", "first"]
    assert await read_tail("app.service", "", 2, is_user=False) == "\nfirst"


@pytest.mark.parametrize(("is_user", "option"), [(False, "--unit=app.service"), (True, "--user-unit=app.service")])
async def test_how_it_is_asked(journalctl: Script, tmp_path: Path, is_user: bool, option: str) -> None:
    journalctl(f"printf '%s\\n' \"$@\" > '{tmp_path}/arguments'; {told(tmp_path, entry('x'))}")
    await read_tail("app.service", "", 7, is_user=is_user)
    arguments = (tmp_path / "arguments").read_text().split()
    assert option in arguments
    assert "--lines=7" in arguments


async def test_late_lines_are_waited_for(journalctl: Script, tmp_path: Path) -> None:
    """Nothing at first, then systemd's line, then the app's last words too, then no more."""
    (tmp_path / "1").write_text("")
    (tmp_path / "2").write_text(entry("exited") + "\n")
    (tmp_path / "3").write_text(entry("exited") + "\n" + entry("Error: no such module") + "\n")
    journalctl(
        f"cd '{tmp_path}'; n=$(cat turn 2>/dev/null || echo 1); cat $n; [ $n = 3 ] || n=$((n + 1)); echo $n > turn"
    )
    assert await read_tail("app.service", cursor_now(), 40, is_user=False) == "exited\nError: no such module"


async def test_an_empty_log_is_waited_for_not_long(journalctl: Script) -> None:
    journalctl("exit 0")
    with at_most(journal.SETTLE_S + 1):
        assert await read_tail("app.service", cursor_now(), 40, is_user=False) == ""


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
            "[the journal of app.service may not be read by the agent: add its user to the group systemd-journal]",
        ),
        (
            "echo 'Hint: You are currently not seeing messages from other users and the system.' >&2",
            "[the journal of app.service may not be read by the agent: add its user to the group systemd-journal]",
        ),
        (
            "echo 'No journal files were found.' >&2; echo more >&2",
            "[the journal of app.service could not be read: No journal files were found.]",
        ),
    ],
)
async def test_a_journal_that_cannot_be_read(journalctl: Script, script: str, line: str) -> None:
    journalctl(script)
    assert await read_tail("app.service", cursor_now(), 40, is_user=False) == line


async def test_no_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tail = await read_tail("app.service", "", 40, is_user=False)
    assert tail == "[the journal cannot be read: journalctl is not installed]"


async def test_one_that_does_not_answer(journalctl: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ANSWER_S", 0.3)
    journalctl(f"echo $$ > '{tmp_path}/pid'; exec sleep 1000")
    tail = await read_tail("app.service", "", 40, is_user=False)
    assert tail.startswith("[the journal of app.service could not be read: no answer within")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_one_that_never_ends(journalctl: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ANSWER_BYTES", 100_000)
    monkeypatch.setattr(journal, "SETTLE_S", 0.0)
    (tmp_path / "line").write_text(entry("again"))
    journalctl(f"exec yes \"$(cat '{tmp_path}/line')\"")
    tail = await read_tail("app.service", "", 3, is_user=False)
    assert tail == "again\nagain\nagain"
