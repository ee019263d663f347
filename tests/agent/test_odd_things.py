"""What people and machines do behind the agent's back: set the clock, move the link, take away releases and files."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropdeploy.model.release import parse_release_id
from tests.agent.world import World, build, wait_for

DAY_S = 86_400


class OddClockWorld(World):
    def set_clock(self, off_by_s: float) -> None:
        aside = self.path / "off-by.new"
        aside.write_text(str(off_by_s))
        aside.rename(self.path / "off-by")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.agent.odd_clock", *arguments, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"CLOCK_OFF_BY": str(self.path / "off-by")}


def test_a_clock_that_jumps_forward_and_back(tmp_path: Path) -> None:
    world = OddClockWorld(tmp_path)
    world.configure('rate_limit = "2/1h"\nkeep_results = 2')
    world.set_clock(0)
    world.start()
    first = world.deploy("v1")
    world.set_clock(400 * DAY_S)
    ahead = [world.deploy("v2"), world.deploy("v3")]
    assert ahead[1]["started"] > datetime.now(UTC) + timedelta(days=399)
    assert ahead[1]["release"] > ahead[0]["release"] > first["release"]
    rollback_at = parse_release_id(ahead[1]["release"])
    assert rollback_at is not None

    world.put("v4.tar.gz", build("v4", boot_s=0.5))  # in the middle of this one
    world.result("v4.tar.gz")
    assert world.result("v4.tar.gz")["error"]["code"] == "rate-limited"
    world.set_clock(0)
    # Nothing of what happened in the future counts; ids only grow, and order is theirs.
    second = world.deploy("v5")
    assert (second["status"], second["previous"]) == ("deployed", ahead[1]["release"])
    assert second["release"] > ahead[1]["release"]
    assert parse_release_id(second["release"]) == rollback_at + timedelta(seconds=1)
    assert abs(second["started"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert second["seconds"] < 30
    world.set_clock(-400 * DAY_S)
    world.put("rollback")
    back = world.result("rollback")
    assert (back["status"], back["live"]) == ("deployed", ahead[1]["release"])
    assert world.ask()["version"] == "v3"
    assert (world.drop / "rollback.result.toml").exists()
    assert world.stop() == 0
    assert "Traceback" not in world.log.read_text()


def test_a_clock_that_jumps_back_in_the_middle(tmp_path: Path) -> None:
    world = OddClockWorld(tmp_path)
    world.set_clock(0)
    world.start()
    world.put("v1.tar.gz", build("v1", boot_s=0.7))
    wait_for("the boot", world.live)
    world.set_clock(-DAY_S)
    result = world.result("v1.tar.gz")
    assert (result["status"], result["seconds"]) == ("deployed", 0.0)
    assert result["finished"] == result["started"]
    assert world.stop() == 0


@pytest.mark.parametrize("target", ["../elsewhere", "/nowhere/at/all", "releases"])
def test_a_link_that_leads_out_of_releases(agent: World, target: str) -> None:
    (agent.path / "elsewhere").mkdir()
    (agent.root / "releases").mkdir()
    (agent.root / "app").symlink_to(target)
    result = agent.deploy("v1")
    assert (result["status"], result["error"]["code"]) == ("rejected", "app-path-blocked")
    assert result["error"]["message"] == (
        f"{agent.root}/app leads to {target}, which is not in {agent.root}/releases: a failed deploy could not go back "
        "to it"
    )
    assert "or remove the link" in result["error"]["hint"]
    assert os.readlink(agent.root / "app") == target
    agent.put("rollback")
    assert agent.result("rollback")["error"]["code"] == "app-path-blocked"
    # What the hint says: it becomes a release, under any name, to which a failed deploy goes back.
    (agent.root / "app").unlink()
    if target == "../elsewhere":
        (agent.path / "elsewhere").rename(agent.root / "releases" / "by-hand")
        for name in ("app.py", "behaviour.json"):
            (agent.root / "releases" / "by-hand" / name).write_bytes(b"")
        (agent.root / "app").symlink_to("releases/by-hand")
    agent.put("v1.tar.gz.ready")
    wait_for("deploy", lambda: agent.live() not in ("", "by-hand"))
    assert agent.result("v1.tar.gz")["status"] == "deployed"


def test_a_link_that_was_removed_by_hand(agent: World) -> None:
    first = agent.deploy("v1")
    (agent.root / "app").unlink()
    ill = agent.deploy("v2", exit=1)
    assert (ill["status"], ill["live"], "previous" in ill) == ("rolled-back", first["release"], False)
    (agent.root / "app").unlink()
    assert agent.deploy("v3")["status"] == "deployed"


def test_a_link_to_a_release_that_is_gone(agent: World) -> None:
    agent.deploy("v1")
    second = agent.deploy("v2")
    shutil.rmtree(agent.root / "releases" / second["release"])
    agent.put("restart")
    result = agent.result("restart")
    assert (result["status"], result["error"]["code"]) == ("rejected", "no-such-release")
    assert result["error"]["message"] == f"the live release {second['release']} is gone from the disk"
    agent.put("rollback")
    assert agent.result("rollback")["status"] == "deployed"
    assert agent.ask()["version"] == "v1"


def test_the_release_is_taken_away_in_the_middle(agent: World) -> None:
    first = agent.deploy("v1")
    agent.put("v2.tar.gz", build("v2", boot_s=0.4, crash_after_s=0.1))
    wait_for("the swap", lambda: agent.live() != first["release"])
    shutil.rmtree(agent.root / "releases" / agent.live())
    result = agent.result("v2.tar.gz")
    assert (result["status"], result["live"]) == ("rolled-back", first["release"])
    assert agent.ask()["version"] == "v1"


def test_no_descriptor_is_left_for_the_unpacker(agent: World) -> None:
    agent.deploy("v1")
    assert agent.process is not None
    pid = agent.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # Enough for a look into the directory and for opening the upload, and not for the pipes of another process.
    used = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    lowest = [number for number in range(4096) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest[6], limits[1]))
    agent.put("v2.tar.gz", build("v2"))
    waits = "waits: the unpacker could not be started: Too many open files"
    wait_for("its being put off", lambda: waits in agent.log.read_text())
    assert agent.ask()["version"] == "v1"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    # It may just have found that the directory cannot be read either: it comes back, and not with the next rescan only.
    assert agent.result("v2.tar.gz")["status"] == "deployed"
