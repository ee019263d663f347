"""What a process can still do once it is confined, asked of the real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3]

ATTEMPTS = """
import ctypes, json, os, socket, sys, threading
sys.path.insert(0, {sources!r})
from dropdeploy.releases.confinement import confine

staging = os.open({staging!r}, os.O_RDONLY)
source = os.open({source!r}, os.O_RDONLY)
outside = os.open({outside!r}, os.O_RDONLY)
confine(staging, source if {has_source} else None)

def write_inside():
    os.mkdir("a", dir_fd=staging)
    os.mkdir("b", dir_fd=staging)
    fd = os.open("a/x", os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, dir_fd=staging)
    os.write(fd, b"12345")
    os.fchmod(fd, 0o755)
    os.utime(fd, (1, 1))
    os.ftruncate(fd, 1)
    os.link("a/x", "b/y", src_dir_fd=staging, dst_dir_fd=staging)
    os.symlink("x", "a/s", dir_fd=staging)
    os.rename("b/y", "a/z", src_dir_fd=staging, dst_dir_fd=staging)
    os.unlink("a/z", dir_fd=staging)
    os.rmdir("b", dir_fd=staging)

def capabilities():
    with open("/proc/self/status") as status:
        return status.read()

attempts = {{
    "write inside": write_inside,
    "run inside": lambda: os.execv({staging!r} + "/a/x", ["x"]),
    "read source": lambda: os.open("file", os.O_RDONLY, dir_fd=source),
    "write source": lambda: os.open("file", os.O_WRONLY, dir_fd=source),
    "read outside": lambda: open("/etc/passwd"),
    "read by descriptor": lambda: os.open("file", os.O_RDONLY, dir_fd=outside),
    "write outside": lambda: open({outside!r} + "/new", "w"),
    "remove outside": lambda: os.unlink({outside!r} + "/file"),
    "link in": lambda: os.link({outside!r} + "/file", "stolen", dst_dir_fd=staging),
    "move out": lambda: os.rename("a/s", {outside!r} + "/out", src_dir_fd=staging),
    "device": lambda: os.mknod("dev", 0o600 | 0o020000, 0x103, dir_fd=staging),
    "socket": socket.socket,
    "program": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
}}
done = {{}}
def attempt(name):
    try:
        attempts[name]()
        done[name] = "done"
    except OSError as error:
        done[name] = "refused"
for name in attempts:
    attempt(name)
thread = threading.Thread(target=lambda: attempt("socket"))
thread.start()
thread.join()
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
held = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget(header, held)
print(json.dumps([done, list(held)]))
"""


@pytest.mark.parametrize("has_source", [False, True])
def test_only_the_staging_directory_is_left(tmp_path: Path, has_source: bool) -> None:
    for name in ("staging", "source", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    script = ATTEMPTS.format(
        sources=str(SOURCES),
        staging=str(tmp_path / "staging"),
        source=str(tmp_path / "source"),
        outside=str(tmp_path / "outside"),
        has_source=has_source,
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    done, held = json.loads(run.stdout)
    allowed = {name for name, what in done.items() if what == "done"}
    assert allowed == {"write inside", *(["read source"] if has_source else [])}
    kept = (1 << 4 | (1 << 2 if has_source else 0)) if os.geteuid() == 0 else 0  # CAP_FSETID, CAP_DAC_READ_SEARCH
    assert held == [kept, kept, 0, 0, 0, 0]
    assert sorted(os.listdir(tmp_path / "outside")) == ["file"]
