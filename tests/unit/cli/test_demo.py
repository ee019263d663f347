"""The demo as a newcomer runs it, and as one who has seen enough."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropdeploy.cli.demo.builds import make_build
from dropdeploy.cli.demo.uploading import SlowCopy, Uploader, UploadError, find_uploader
from dropdeploy.cli.demo.visitors import Visitors, ask
from tests.agent.world import SOURCES, wait_for


@contextmanager
def demo(path: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    path.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "dropdeploy", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(path), **environment},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
    assert os.listdir(path) == []
    wait_for("end of all processes", lambda: not processes_below(path))


def processes_below(path: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                directory = os.readlink(entry / "cwd")
            except OSError:
                continue
            if f"{path}/" in command + directory:
                found.append(command)
    return found


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    pytest.fail(f"the demo ended without {text!r}:\n{read}")


def test_the_story_is_told_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path / "tmp", PYTHONWARNINGS="error") as process:
        told, _ = process.communicate(timeout=90)
        assert process.returncode == 0, told
    assert re.findall(r"^\d\. ", told, re.MULTILINE) == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert told.count("deployed: ") == 3
    assert "rolled-back: " in told
    assert '    | code = "health-timeout"' in told
    assert re.search(r"visitors meanwhile: \d+ requests, \d+ failed; ", told)
    assert "All as told, in " in told.splitlines()[-1]
    assert "\x1b" not in told


@pytest.mark.parametrize("moment", ["All of it happens below", "the line breaks at", "2. v2", "3. v3"])
def test_it_can_be_ended_at_any_moment(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path / "tmp") as process:
        read_until(process, moment)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 130
    assert "Traceback" not in told
    assert "Left behind" not in told


def test_kept_it_runs_until_it_is_ended(tmp_path: Path) -> None:
    with demo(tmp_path / "tmp", "--keep") as process:
        told = read_until(process, "./dropdeploy status")
        address = next(line.split()[2] for line in told.splitlines() if line.strip().startswith("the page "))
        with urllib.request.urlopen(f"{address}apps/hello.json") as answer:
            assert len(json.load(answer)["deploys"]) == 4
        directory = next(line.split()[1] for line in told.splitlines() if line.strip().startswith("cd "))
        again = subprocess.run(
            ["./dropdeploy", "deploy", "hello", "builds/hello-v2.tar.gz"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 0, again.stderr
        process.terminate()
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 0
    assert "is gone" in told.splitlines()[-1]


def test_what_does_not_happen_is_not_told_as_if_it_had(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "watchdog.py").write_text("raise ImportError('watchdog is not what it was')\n")
    with demo(tmp_path / "tmp", PYTHONPATH=f"{SOURCES}:{broken}") as process:
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 1
    assert "This is not how it should be: the agent does not start" in told
    assert "watchdog is not what it was" in told
    assert "All as told" not in told


# --- its parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uploader", [find_uploader(), SlowCopy()], ids=lambda uploader: uploader.name)
def test_an_upload_breaks_off_and_goes_on(tmp_path: Path, uploader: Uploader) -> None:
    build = make_build(tmp_path, "v1")
    drop = tmp_path / "drop"
    drop.mkdir()
    size = build.stat().st_size
    assert not uploader.put(build, drop, rate=2 * size, watch=lambda arrived: arrived < size // 2)
    part = (drop / build.name).read_bytes()
    assert size // 2 <= len(part) < size
    seen: list[int] = []
    assert uploader.put(build, drop, rate=2 * size, watch=lambda arrived: seen.append(arrived) is None)
    assert (drop / build.name).read_bytes() == build.read_bytes()
    assert min(seen) >= len(part)


def test_an_upload_that_cannot_be_says_why(tmp_path: Path) -> None:
    build = make_build(tmp_path, "v1")
    with pytest.raises((UploadError, FileNotFoundError), match="No such file or directory"):
        find_uploader().put(build, tmp_path / "missing")


@contextmanager
def site(release: Path, listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """The app as a supervisor starts it: the socket as descriptor 3."""
    shell = f"exec 3<&0 0</dev/null && exec {sys.executable} server.py"
    process = subprocess.Popen(
        ["/bin/sh", "-c", shell],
        cwd=release,
        env={**os.environ, "LISTEN_FDS": "1"},
        stdin=listener,
        stdout=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def unpacked(path: Path, version: str, *, has_page: bool = True) -> Path:
    release = path / version
    release.mkdir()
    subprocess.run(["tar", "-xf", make_build(path, version, has_page=has_page), "-C", release], check=True)
    return release


def test_the_app_stops_promptly_and_loses_nobody(tmp_path: Path) -> None:
    release = unpacked(tmp_path, "v1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Visitors(port) as visitors:
            for _ in range(3):
                with site(release, listener) as process:
                    before = len(visitors.tally.answers)
                    wait_for("visitors", lambda before=before: len(visitors.tally.answers) > before + 20)
                    began = time.monotonic()
                    process.terminate()
                    assert process.wait(5) == 0
                    assert time.monotonic() - began < 1
            with site(release, listener) as process:  # for those who wait now
                before = len(visitors.tally.answers)
                wait_for("visitors", lambda: len(visitors.tally.answers) > before + 20)
                visitors.__exit__(None, None, None)
                process.terminate()
    tally = visitors.tally
    assert tally.lost == ()
    assert list(tally.shares) == [("pages", "v1")]


def test_the_app_is_ill_without_its_page(tmp_path: Path) -> None:
    release = unpacked(tmp_path, "v3", has_page=False)
    with socket.create_server(("127.0.0.1", 0)) as listener, site(release, listener):
        answer = ask(listener.getsockname()[1], "/health")
    assert (answer.status, answer.version) == (500, "v3")
