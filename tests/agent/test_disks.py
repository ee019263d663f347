"""Disks that are full, out of inodes or read-only at every write there is: what the uploader reads, and that it goes on
by itself or by `.ready` when there is room again."""

from __future__ import annotations

import shutil
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.disks import MIB, SmallDisks
from tests.agent.world import build, files_of, tar, wait_for


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[SmallDisks]:
    disks = SmallDisks(tmp_path)
    disks.configure('rate_limit = "off"', health='soak = "600ms"')
    disks.start()
    yield disks
    if disks.process is not None:
        assert disks.stop() == 0
    disks.close()
    log = disks.log.read_text()
    print(log)
    assert "Traceback" not in log


def told(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["status"], result["error"]["code"], result["error"]["step"]


def again(disks: SmallDisks, name: str) -> dict[str, Any]:
    """Ask for an upload that failed once more."""
    (disks.drop / f"{name}.result.toml").unlink(missing_ok=True)
    disks.put(f"{name}.ready")
    return disks.result(name)


def await_step(disks: SmallDisks, name: str, step: str) -> None:
    def is_there() -> bool:
        try:
            return bool(tomllib.loads((disks.drop / f"{name}.deploying").read_text())["step"] == step)
        except FileNotFoundError:
            return False

    wait_for(f"{name} at {step}", is_there)


# --- the disk of the releases --------------------------------------------------------------------------------------


def test_no_room_for_what_an_archive_does_not_tell_beforehand(disks: SmallDisks) -> None:
    first = disks.deploy("v1")
    disks.put("big.tar.xz", tar({**files_of("big"), "large": "x" * 40_000_000}, "xz"))
    result = disks.result("big.tar.xz")
    assert told(result) == ("rejected", "no-space", "extract")
    assert result["error"]["message"].startswith("no space is left for entry 'large'")
    place = f"{disks.path}/home/releases"
    assert result["error"]["hint"] == f"make room on the file system of {place}, or keep fewer releases (`keep`)"
    assert disks.releases() == [first["release"]]
    assert disks.ask()["version"] == "v1"


def test_no_inodes(disks: SmallDisks) -> None:
    first = disks.deploy("v1")
    files = {f"file{number}": "" for number in range(600)}
    disks.put("many.tar.gz", tar({**files_of("many"), **files}))
    result = disks.result("many.tar.gz")
    assert told(result) == ("rejected", "no-space", "extract")
    assert result["error"]["message"].startswith("no inodes are left for entry 'file")
    assert disks.releases() == [first["release"]]

    second = disks.deploy("v2")
    crowd = disks.use_up_inodes(disks.root)
    disks.put("rollback")
    result = disks.result("rollback")
    assert told(result) == ("failed", "no-space", "swap")
    assert result["error"]["message"].startswith(f"could not swap to release {first['release']}: No space left on")
    assert (result["live"], result["live_healthy"]) == (second["release"], True)
    shutil.rmtree(crowd)
    (disks.drop / "rollback.result.toml").unlink()
    disks.put("rollback")
    assert disks.result("rollback")["live"] == first["release"]


def test_a_root_that_is_read_only(disks: SmallDisks) -> None:
    first = disks.deploy("v1")
    disks.read_only("home", on=True)
    result = disks.deploy("v2")
    assert told(result) == ("rejected", "not-authorised", "extract")
    assert result["error"]["message"] == "could not make a staging directory: Read-only file system"
    assert result["error"]["hint"] == f"the file system of {disks.path}/home is mounted read-only: see why"
    assert (result["live"], result["live_healthy"]) == (first["release"], True)
    disks.read_only("home", on=False)
    assert again(disks, "v2.tar.gz")["status"] == "deployed"


# --- the disk of the history ---------------------------------------------------------------------------------------


def test_a_full_history_refuses_uploads_and_lets_roll_back(disks: SmallDisks) -> None:
    first, second = disks.deploy("v1"), disks.deploy("v2")
    filler = disks.fill(disks.state)
    refused = disks.deploy("v3")
    assert told(refused) == ("rejected", "no-space", "preflight")
    assert f"KiB are free in {disks.path}/state, where the agent keeps its history" in refused["error"]["message"]
    assert refused["error"]["hint"].endswith("on the server; rollbacks still work")
    assert refused["id"] == second["id"] + 1
    disks.log_says("is full: the agent writes on its last reserve")
    disks.put("rollback")
    back = disks.result("rollback")
    assert (back["status"], back["live"]) == ("deployed", first["release"])
    assert disks.ask()["version"] == "v1"
    filler.unlink()
    assert again(disks, "v3.tar.gz")["status"] == "deployed"
    assert (disks.state / "reserve").stat().st_size == MIB


def test_a_history_that_cannot_be_written_at_all_is_told(disks: SmallDisks) -> None:
    disks.deploy("v1")
    (disks.state / "reserve").unlink()
    filler = disks.fill(disks.state)
    refused = disks.deploy("v2")
    assert told(refused) == ("rejected", "no-space", "preflight")
    assert refused["error"]["message"] == (
        f"the history {disks.path}/state/history.db cannot be used: database or disk is full"
    )
    assert refused["summary"] == "v2.tar.gz was not tried, nothing was touched"
    assert "id" not in refused
    assert disks.ask()["version"] == "v1"
    filler.unlink()
    assert again(disks, "v2.tar.gz")["status"] == "deployed"


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_history_that_is_full_from_the_swap_on(disks: SmallDisks, is_killed: bool) -> None:
    first = disks.deploy("v1")
    disks.put("v2.tar.gz", build("v2", crash_after_s=0.4))
    await_step(disks, "v2.tar.gz", "health")
    (disks.state / "reserve").unlink()
    filler = disks.fill(disks.state)
    path = disks.drop / "v2.tar.gz.result.toml"
    wait_for("result", path.exists)
    result = tomllib.loads(path.read_text())
    assert (result["status"], result["live"]) == ("rolled-back", first["release"])
    assert disks.ask()["version"] == "v1"
    # The verdict is told, but not committed: the work goes on until it is.
    assert (disks.drop / "v2.tar.gz.deploying").exists()
    disks.log_says("the verdict waits for it")
    if is_killed:
        disks.stop(signal.SIGKILL)
        filler.unlink()
        path.unlink()  # what was told is told again, not taken for this
        disks.start()
    filler.unlink(missing_ok=True)
    assert disks.result("v2.tar.gz")["status"] == "rolled-back"
    assert (disks.live(), disks.ask()["version"]) == (first["release"], "v1")
    assert disks.deploy("v3")["id"] == result["id"] + 1


# --- the disk of the uploads ---------------------------------------------------------------------------------------


def test_a_result_that_has_no_room(disks: SmallDisks) -> None:
    first = disks.deploy("v1")
    # The archive of what went live goes, and that makes the room.
    disks.put("v2.tar.gz", build("v2"))
    await_step(disks, "v2.tar.gz", "health")
    filler = disks.fill(disks.drop)
    assert disks.result("v2.tar.gz")["status"] == "deployed"
    filler.unlink()

    disks.put("v3.tar.gz", build("v3", crash_after_s=0.4))
    await_step(disks, "v3.tar.gz", "health")
    filler = disks.fill(disks.drop)
    disks.log_says("the result of v3.tar.gz waits: v3.tar.gz.result.toml in")
    assert "cannot be written: No space left on device" in disks.log.read_text()
    filler.unlink()
    result = disks.result("v3.tar.gz")
    assert (result["status"], result["previous"]) == ("rolled-back", disks.live())
    assert first["release"] < result["live"]


def test_a_drop_directory_that_is_read_only_for_a_while(disks: SmallDisks) -> None:
    disks.deploy("v1")
    disks.put("v2.tar.gz", build("v2"))
    await_step(disks, "v2.tar.gz", "health")
    disks.read_only("drop", on=True)
    disks.log_says("the result of v2.tar.gz waits: v2.tar.gz.result.toml in")
    assert disks.ask()["version"] == "v2"
    disks.read_only("drop", on=False)
    wait_for("result", (disks.drop / "v2.tar.gz.result.toml").exists)
    disks.log_says("the result of v2.tar.gz is written now")
    assert disks.deploy("v3")["status"] == "deployed"


def test_a_drop_directory_that_is_gone_between_two_steps(disks: SmallDisks) -> None:
    disks.put("v1.tar.gz", build("v1"))
    await_step(disks, "v1.tar.gz", "health")
    disks.inside("umount", "--lazy", str(disks.path / "drop"))
    disks.log_says("is live and healthy")
    assert disks.ask()["version"] == "v1"
    # What is below the mount is another directory, without the upload; the result is told there.
    wait_for("result", (disks.path / "drop" / "v1.tar.gz.result.toml").exists)
