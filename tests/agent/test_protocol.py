"""The drop protocol beyond one deploy: waiting, holding, cancelling, what is told meanwhile, what is left behind."""

from __future__ import annotations

import itertools
import os
import tomllib
from typing import Any

import pytest

from tests.agent.world import World, build, tar, wait_for


def deploying(world: World, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((world.drop / f"{name}.deploying").read_text())
    except FileNotFoundError:
        return {}


def status(world: World) -> dict[str, Any]:
    return tomllib.loads((world.drop / "status.toml").read_text())


def test_hold_makes_uploads_wait_and_rollbacks_not(agent: World) -> None:
    first = agent.deploy("v1")
    agent.deploy("v2")
    agent.put("hold")
    wait_for("hold in status.toml", lambda: status(agent)["held"])
    agent.put("v3.tar.gz", build("v3"))
    wait_for("held", lambda: deploying(agent, "v3.tar.gz").get("step") == "held")
    agent.put("v4.tar.gz", build("v4"))
    wait_for("held", lambda: deploying(agent, "v4.tar.gz").get("step") == "held")
    wait_for("both in status.toml", lambda: status(agent)["queue"] == ["v3.tar.gz", "v4.tar.gz"])
    agent.put("rollback")
    assert agent.result("rollback")["live"] == first["release"]
    assert agent.ask()["version"] == "v1"
    (agent.drop / "hold").unlink()
    third, fourth = agent.result("v3.tar.gz"), agent.result("v4.tar.gz")
    assert third["status"] == fourth["status"] == "deployed"
    assert third["id"] < fourth["id"]
    assert agent.ask()["version"] == "v4"


def test_one_after_the_other_in_the_order_of_arrival(agent: World) -> None:
    names = [f"{letter}.tar.gz" for letter in "dbca"]
    for name in names:
        agent.put(name, build(name, boot_s=0.2))
    results = [agent.result(name) for name in names]
    assert [result["status"] for result in results] == ["deployed"] * 4
    assert [result["id"] for result in results] == sorted(result["id"] for result in results)
    assert all(earlier["finished"] <= later["started"] for earlier, later in itertools.pairwise(results))


def test_only_the_latest(world: World) -> None:
    world.configure('queue = "latest"')
    world.start()
    world.put("a.tar.gz", build("a", boot_s=1))
    wait_for("work on a", lambda: deploying(world, "a.tar.gz").get("step") in ("restart", "health"))
    world.put("b.tar.gz", build("b"))
    wait_for("b in the queue", lambda: deploying(world, "b.tar.gz"))
    world.put("c.tar.gz", build("c"))
    superseded = world.result("b.tar.gz")
    assert superseded["status"] == "superseded"
    assert superseded["error"]["message"].startswith("c.tar.gz came while b.tar.gz waited")
    assert world.result("c.tar.gz")["status"] == "deployed"
    assert world.ask()["version"] == "c"


def test_cancel_before_the_swap(agent: World) -> None:
    agent.deploy("v1")
    before = agent.releases()
    agent.put("big.tar", tar({f"file-{number}": "x" * 20_000 for number in range(20_000)}, ""))
    wait_for("extract", lambda: deploying(agent, "big.tar").get("step") == "extract")
    agent.put("cancel")
    result = agent.result("big.tar")
    assert (result["status"], result["error"]["code"]) == ("cancelled", "cancelled"), result
    assert agent.releases() == before
    agent.await_dropped("big.tar")
    assert agent.ask()["version"] == "v1"


def test_cancel_after_the_swap_is_too_late(agent: World) -> None:
    agent.put("v1.tar.gz", build("v1", boot_s=0.8))
    wait_for("restart", lambda: deploying(agent, "v1.tar.gz").get("step") in ("restart", "health"))
    agent.put("cancel")
    assert agent.result("v1.tar.gz")["status"] == "deployed"
    wait_for("cancel to be consumed", lambda: agent.dropped() == [])


def test_progress_is_told_while_it_happens(agent: World) -> None:
    agent.put("v1.tar.gz", build("v1", boot_s=0.5))
    told = wait_for("health", lambda: (found := deploying(agent, "v1.tar.gz")).get("step") == "health" and found)
    assert isinstance(told, dict)
    assert [step["name"] for step in told["steps"]] == ["preflight", "extract", "link", "swap", "restart"]
    assert told["started"]
    wait_for("the same in status.toml", lambda: status(agent).get("working") == "v1.tar.gz: health")
    agent.result("v1.tar.gz")
    wait_for("idle", lambda: "working" not in status(agent))


def test_status_tells_the_app_as_it_is(agent: World) -> None:
    first, second = agent.deploy("v1"), agent.deploy("v2")
    now = wait_for("status", lambda: (found := status(agent)).get("last", {}).get("id") == second["id"] and found)
    assert isinstance(now, dict)
    assert (now["live"], now["live_healthy"]) == (second["release"], True)
    assert [(told["release"], told["live"], told["healthy"]) for told in now["releases"]] == [
        (second["release"], True, True),
        (first["release"], False, True),
    ]
    assert now["last"]["status"] == "deployed"


def test_new_bytes_outdate_the_result_at_once(agent: World) -> None:
    agent.deploy("v1", name="build.tar.gz")
    with (agent.drop / "build.tar.gz").open("wb") as upload:
        upload.write(build("v2"))
        upload.flush()
        wait_for("outdated result to go", lambda: not (agent.drop / "build.tar.gz.result.toml").exists())
    assert agent.result("build.tar.gz")["status"] == "deployed"
    assert agent.ask()["version"] == "v2"


def test_the_newest_results_stay(world: World) -> None:
    world.configure('keep_results = 3\nrate_limit = "off"')
    world.start()
    for number in range(5):
        world.deploy(f"v{number}")
    results = sorted(name for name in os.listdir(world.drop) if name.endswith(".result.toml"))
    assert results == ["v2.tar.gz.result.toml", "v3.tar.gz.result.toml", "v4.tar.gz.result.toml"]


def test_after_keep_leaves_the_upload_and_does_not_repeat_it(world: World) -> None:
    world.configure('after = "keep"')
    world.start()
    world.deploy("v1")
    world.await_dropped("v1.tar.gz")
    world.deploy("v2")
    assert world.stop() == 0
    world.start()
    world.put("rollback")
    assert world.result("rollback")["status"] == "deployed"
    assert world.ask()["version"] == "v1"
    world.await_dropped("v1.tar.gz", "v2.tar.gz")


@pytest.mark.parametrize(
    "name", ["a b.tar.gz", 'it\'s "so".tar.gz', "-rf.tar.gz", "🚀.tar.gz", "a\nb.tar.gz", "x" * 248 + ".tar.gz"]
)
def test_odd_names(agent: World, name: str) -> None:
    agent.put(name, build("odd"))
    wait_for("deploy", agent.live)
    wait_for("upload to be cleared away", lambda: agent.dropped() == [])
    results = [found for found in os.listdir(agent.drop) if found.endswith(".result.toml")]
    assert len(results) == 1
    assert tomllib.loads((agent.drop / results[0]).read_text())["upload"] == name


def test_clients_temporary_names_are_invisible(agent: World) -> None:
    for name in ("b.tar.gz.filepart", "b.tar.gz.part", ".b.tar.gz.Abc123", "b.tar.gz~"):
        (agent.drop / name).write_bytes(build("temporary"))
    assert agent.deploy("v1")["status"] == "deployed"
    assert not [name for name in os.listdir(agent.drop) if "b.tar.gz" in name and name.endswith(".toml")]
    assert agent.ask()["version"] == "v1"


def test_a_file_linked_in_is_found(agent: World) -> None:
    temporary = agent.drop / ".upload.tmp"
    temporary.write_bytes(build("linked"))
    os.link(temporary, agent.drop / "b.tar.gz")
    temporary.unlink()
    assert agent.result("b.tar.gz")["status"] == "deployed"


@pytest.mark.parametrize(("behaviour", "status"), [({"boot_s": 0.5}, "deployed"), ({"exit": 3}, "rolled-back")])
def test_times_set_during_the_deploy_do_not_bring_a_second_one(
    agent: World, behaviour: dict[str, Any], status: str
) -> None:
    """rclone, lftp and FileZilla set a file's times after they have closed it; over a slow line that is late."""
    first = agent.deploy("v1")
    upload = agent.put("v2.tar.gz", build("v2", **behaviour))
    steps = ("swap", "restart", "health")
    wait_for("the swap", lambda: deploying(agent, "v2.tar.gz").get("step") in steps or not upload.exists())
    os.utime(upload, (1_600_000_000, 1_600_000_000))
    second = agent.result("v2.tar.gz")
    assert second["status"] == status
    assert second["id"] == first["id"] + 1
    left = [] if status == "deployed" else ["v2.tar.gz"]
    wait_for("the upload to be cleared away", lambda: agent.dropped() == left)
    third = agent.deploy("v3")
    assert third["id"] == second["id"] + 1
