import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropdeploy.lock import AgentRunningError, hold, is_held

HOLDER = """
import sys
from pathlib import Path
from dropdeploy.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_agent(state: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_agent_is_told_who_is_first(tmp_path: Path) -> None:
    with another_agent(tmp_path) as first:
        with pytest.raises(AgentRunningError) as refused, hold(tmp_path):
            pass
        assert str(refused.value).startswith(f"another agent (pid {first.pid}) is running on {tmp_path}: ")


def test_a_killed_agent_leaves_no_lock(tmp_path: Path) -> None:
    with another_agent(tmp_path) as first:
        assert is_held(tmp_path)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not is_held(tmp_path)
        with hold(tmp_path):
            assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_the_file_tells_people_the_pid_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1234567890 left by an agent with a longer pid\n")
    (tmp_path / "lock").chmod(0o600)
    before = os.umask(0o077)
    try:
        with hold(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_nothing_is_held_where_no_agent_ever_ran(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "missing")


def test_asking_does_not_keep_an_agent_from_starting(tmp_path: Path) -> None:
    asking = "import sys, time\nfrom pathlib import Path\nfrom dropdeploy.lock import is_held\n"
    asking += "print('asking', flush=True)\nend = time.monotonic() + 0.6\n"
    asking += "while time.monotonic() < end: is_held(Path(sys.argv[1]))"
    (tmp_path / "lock").touch()
    with subprocess.Popen([sys.executable, "-c", asking, str(tmp_path)], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        asker.stdout.readline()
        for _ in range(10):
            with hold(tmp_path):
                pass


def test_what_cannot_be_known_is_not_guessed(tmp_path: Path) -> None:
    with hold(tmp_path):
        (tmp_path / "lock").chmod(0o000)
        question = "import os, sys\nfrom pathlib import Path\nfrom dropdeploy.lock import is_held\n"
        question += "if os.getuid() == 0: os.setresuid(65534, 65534, 65534)\nis_held(Path(sys.argv[1]))"
        tmp_path.chmod(0o755)
        told = subprocess.run(
            [sys.executable, "-c", question, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "PermissionError" in told.stderr
