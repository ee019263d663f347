"""The box is what it claims to be: a whole Debian that can be crashed, rebooted and thrown away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box import cache
from tests.box.machine import REPOSITORY, Box, BoxError, CommandError, wait_until


def test_a_real_systemd_runs(box: Box) -> None:
    version = re.match(r"systemd (\d+)", box.run("systemctl", "--version").out)
    assert version is not None
    assert int(version[1]) >= 252
    assert box.run("systemctl", "is-system-running").out == "running\n"
    assert box.run("cat", "/proc/1/comm").out == "systemd\n"


def test_the_network_is_a_loopback_of_its_own(box: Box) -> None:
    links = box.run("ip", "-brief", "link").out.splitlines()
    assert [line.split()[0] for line in links] == ["lo"]
    assert "UP" in links[0]


def test_a_command_that_fails_tells_what_it_said(box: Box) -> None:
    with pytest.raises(CommandError, match=r"ended with 3\nstdout:\nout\n\nstderr:\nerr\n"):
        box.run("sh", "-c", "echo out; echo err >&2; exit 3")


def test_a_command_has_user_input_environment_and_an_end(box: Box) -> None:
    done = box.run(
        "sh", "-c", 'id -un; id -Gn; echo "$GREETING"; pwd; cat', user="laptop", stdin="in", env={"GREETING": "hi"}
    )
    assert done.out == "laptop\nlaptop\nhi\n/home/laptop\nin"
    assert box.run("sleep", "60", timeout_s=0.2, check=False).code == 124


def test_killing_a_process_outside_kills_the_program_inside(box: Box) -> None:
    def is_sleeping() -> bool:
        return box.run("pgrep", "--euid", "laptop", "--exact", "sleep", check=False).code == 0

    with box.popen("sleep", "infinity", user="laptop") as process:
        wait_until(is_sleeping, "a sleep in the box")
        process.kill()
    wait_until(lambda: not is_sleeping(), "the end of the sleep in the box")


def test_files_go_in_and_out(box: Box, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/file").write_text("from outside")
    box.copy_in(tmp_path / "tree", "/var/lib/copied", owner="laptop")
    assert box.run("stat", "-c", "%U %s", "/var/lib/copied/below/file").out == "laptop 12\n"
    box.run("sh", "-c", "echo from inside > /var/lib/copied/answer")
    assert box.path("/var/lib/copied/answer").read_text() == "from inside\n"


def test_the_sources_are_there_for_everybody_to_read(box: Box) -> None:
    assert box.run("cat", "/src/LICENSE", user="nobody").out == (REPOSITORY / "LICENSE").read_text()
    assert box.run("find", "/src", "-writable", user="nobody", check=False).out == ""


@pytest.mark.parametrize("end", [Box.crash, Box.shut_down])
def test_what_was_written_outlives_the_boot(new_box: Callable[[], Box], end: Callable[[Box], None]) -> None:
    box = new_box()
    first = box.run("cat", "/proc/sys/kernel/random/boot_id").out
    box.run(
        "sh",
        "-c",
        "echo kept > /var/lib/kept; echo lost > /run/lost; logger -t test a word in the journal; journalctl --sync",
    )
    end(box)
    with pytest.raises(BoxError, match="does not run"):
        box.run("true")
    box.boot()
    assert box.run("cat", "/proc/sys/kernel/random/boot_id").out != first
    assert box.run("cat", "/var/lib/kept").out == "kept\n"
    assert box.run("ls", "/run/lost", check=False).code == 2
    assert "a word in the journal" in box.run("journalctl", "--boot=-1", "-t", "test").out
    box.crash()


def test_an_interrupted_run_leaves_nothing() -> None:
    program = (
        "from tests.box.machine import Box; box = Box(); box.boot(); print(box.name, box.leader, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name, leader = process.stdout.readline().split()
        assert Path(f"/proc/{leader}/comm").read_text() == "systemd\n"
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not (cache.directory("boxes") / name).exists(), "the removal of the box")
    assert not Path(f"/proc/{leader}/exe").exists()
    assert name not in Path("/proc/self/mounts").read_text()
