from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dropdeploy.units.procfs import is_group_alive, releases_in_path, releases_of_processes

RELEASE = "20260123-143022"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/home/app/releases/{RELEASE}", {RELEASE}),
        (f"/home/app/releases/{RELEASE}/bin/server", {RELEASE}),
        (f"/home/app/releases/{RELEASE} (deleted)", {RELEASE}),
        (f"/home/app/releases/.staging-{RELEASE}/bin", set()),
        (f"/home/app/shared/{RELEASE}", set()),
        ("/home/app/releases/latest", set()),
        ("/", set()),
    ],
)
def test_a_path_names_a_release(path: str, found: set[str]) -> None:
    assert releases_in_path(path) == found


def test_processes_run_from_releases(tmp_path: Path) -> None:
    release = tmp_path / "releases" / RELEASE
    release.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"], cwd=release) as process:
        assert releases_of_processes([process.pid, 1, 2**22 + 1]) == {RELEASE}
        process.kill()


def test_a_group_of_zombies_is_not_alive() -> None:
    script = "import os,time; os.fork() or time.sleep(1000); time.sleep(1000)"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    assert is_group_alive(process.pid)
    subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=True)
    while is_group_alive(process.pid):
        pass
    assert Path(f"/proc/{process.pid}").exists(), "a zombie until it is waited for"
    process.wait()
    assert not is_group_alive(process.pid)
