"""One deploy, step by step: every row of the table of steps, seen in a real result file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.agent.world import World, build, files_of, tar, wait_for, zipped


def ids(result: dict[str, Any]) -> list[str]:
    return [step["name"] for step in result["steps"]]


def test_a_first_and_a_second_deploy(agent: World) -> None:
    first = agent.deploy("v1")
    assert first["status"] == "deployed", first
    assert first["schema"] == 1
    assert first["action"] == "deploy"
    assert first["live"] == first["release"] == agent.live()
    assert first["live_healthy"] is True
    assert "previous" not in first
    assert "error" not in first
    assert ids(first) == ["preflight", "extract", "link", "swap", "restart", "health", "prune"]
    assert agent.ask()["version"] == "v1"
    second = agent.deploy("v2")
    assert second["status"] == "deployed"
    assert second["previous"] == first["release"] < second["release"]
    assert second["id"] == first["id"] + 1
    assert agent.ask()["version"] == "v2"
    assert os.readlink(agent.root / "app") == f"releases/{second['release']}"
    agent.await_dropped()
    assert agent.releases() == [first["release"], second["release"]]


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".tar", lambda files: tar(files, "")),
        (".tgz", lambda files: tar(files, "gz")),
        (".tar.xz", lambda files: tar(files, "xz")),
        (".tbz2", lambda files: tar(files, "bz2")),
        (".zip", zipped),
    ],
)
def test_archive_types(agent: World, ending: str, pack: Any) -> None:
    agent.put(f"build{ending}", pack(files_of("packed")))
    assert agent.result(f"build{ending}")["status"] == "deployed"
    assert agent.ask()["version"] == "packed"


def test_zstandard(agent: World, tmp_path: Path) -> None:
    import zstandard

    agent.put("build.tar.zst", zstandard.compress(tar(files_of("zst"), "")))
    assert agent.result("build.tar.zst")["status"] == "deployed"


def test_a_directory_goes_with_its_marker_and_stays(agent: World) -> None:
    def upload(version: str) -> None:
        for name, text in files_of(version).items():
            (agent.drop / "site" / name).write_text(text)

    (agent.drop / "site").mkdir()
    upload("d1")
    agent.put("site.ready")
    assert agent.result("site")["status"] == "deployed"
    assert agent.ask()["version"] == "d1"
    agent.await_dropped("site")
    upload("d2")
    assert agent.ask()["version"] == "d1"
    agent.put("site.ready")
    wait_for("second directory deploy", lambda: agent.result("site").get("previous"))
    assert agent.ask()["version"] == "d2"


def test_metadata_and_checksum_travel_to_the_result(agent: World) -> None:
    import hashlib

    content = build("v1")
    digest = hashlib.sha256(content).hexdigest()
    agent.put("b.tar.gz.meta.toml", b'commit = "1a2b3c4"\nauthor = "Zo\xc3\xab"')
    agent.put("b.tar.gz.sha256", f"{digest}  b.tar.gz\n".encode())
    agent.put("b.tar.gz", content)
    result = agent.result("b.tar.gz")
    assert result["status"] == "deployed"
    assert result["sha256"] == digest
    assert result["bytes"] == len(content)
    assert result["meta"] == {"commit": "1a2b3c4", "author": "Zoë"}
    agent.await_dropped()


# --- preflight ---


def test_the_root_is_gone(agent: World) -> None:
    agent.root.rename(agent.path / "elsewhere")
    result = agent.deploy("v1")
    assert (result["status"], result["error"]["code"]) == ("rejected", "app-not-found")
    (agent.path / "elsewhere").rename(agent.root)


def test_the_app_path_is_a_real_directory(agent: World) -> None:
    (agent.root / "app").mkdir()
    (agent.root / "app" / "precious").write_text("x")
    result = agent.deploy("v1")
    assert (result["status"], result["error"]["code"]) == ("rejected", "app-path-blocked")
    assert (agent.root / "app" / "precious").exists()
    agent.await_dropped("v1.tar.gz")


def test_the_rate_limit(world: World) -> None:
    world.configure('rate_limit = "2/1h"')
    world.start()
    first, second = world.deploy("v1"), world.deploy("v2")
    third = world.deploy("v3")
    assert (first["status"], second["status"]) == ("deployed", "deployed")
    assert (third["status"], third["error"]["code"]) == ("rejected", "rate-limited")
    assert third["error"]["message"] == "2 deploys in the last 1 h, and rate_limit allows 2"
    assert third["live"] == second["release"]
    world.put("rollback")
    assert world.result("rollback")["status"] == "deployed"


# --- extract ---


def test_a_corrupt_upload_is_rejected_at_once(agent: World) -> None:
    content = bytearray(build("v1"))
    content[-6] ^= 0xFF  # the gzip trailer's CRC
    agent.put("b.tar.gz", bytes(content))
    result = agent.result("b.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("rejected", "corrupt-upload"), result
    assert result["error"]["step"] == "extract"
    assert agent.releases() == []
    agent.await_dropped("b.tar.gz")


def test_a_short_upload_waits_and_goes_on(world: World) -> None:
    world.configure('stall = "1s"')
    world.start()
    content = build("v1")
    path = world.drop / "b.tar.gz"
    path.write_bytes(content[:200])
    result = world.result("b.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("incomplete", "truncated-upload"), result
    with path.open("ab") as resumed:
        resumed.write(content[200:])
        resumed.flush()
        wait_for("outdated result to go", lambda: not (world.drop / "b.tar.gz.result.toml").exists())
    assert world.result("b.tar.gz")["status"] == "deployed"


def test_an_unsafe_entry(agent: World) -> None:
    agent.put("b.tar.gz", tar({"../evil": "x"}))
    result = agent.result("b.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("rejected", "unsafe-entry")
    assert "../evil" in result["error"]["message"]
    assert not (agent.root / "evil").exists()
    assert agent.releases() == []


def test_a_bomb(world: World) -> None:
    world.configure('[accept]\nmax_unpacked = "1M"')
    world.start()
    world.put("b.tar.gz", tar({"zeros": "0" * 2_000_000}))
    result = world.result("b.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("rejected", "too-large")
    assert world.releases() == []


def test_a_wrong_checksum_and_then_the_right_one(agent: World) -> None:
    import hashlib

    content = build("v1")
    agent.put("b.tar.gz.sha256", b"0" * 64)
    agent.put("b.tar.gz", content)
    result = agent.result("b.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("rejected", "checksum-mismatch")
    assert agent.releases() == []
    agent.put("b.tar.gz.sha256", hashlib.sha256(content).hexdigest().encode())
    wait_for("deploy", agent.live)
    assert agent.result("b.tar.gz")["status"] == "deployed"


def test_a_frozen_writer_is_not_touched(agent: World) -> None:
    with (agent.drop / "a.tar.gz").open("wb") as frozen:
        frozen.write(build("v1"))
        frozen.flush()
        assert agent.deploy("v2")["status"] == "deployed"  # it holds up nobody else
        assert not (agent.drop / "a.tar.gz.result.toml").exists()
    assert agent.result("a.tar.gz")["status"] == "deployed"
    assert agent.ask()["version"] == "v1"


def test_unsupported(agent: World) -> None:
    agent.put("notes.pdf", b"x")
    result = agent.result("notes.pdf")
    assert (result["status"], result["error"]["code"]) == ("rejected", "unsupported-upload")
    agent.await_dropped("notes.pdf")


# --- link ---


def test_shared_entries(world: World) -> None:
    world.configure('shared = [".env", "uploads/"]')
    world.start()
    failed = world.deploy("v1")
    assert (failed["status"], failed["error"]["code"], failed["error"]["step"]) == ("failed", "shared-missing", "link")
    assert world.releases() == []
    assert world.live() == ""
    (world.root / "shared").mkdir(exist_ok=True)
    (world.root / "shared" / ".env").write_text("A=1")
    world.put("v1.tar.gz.ready")  # re-tries the unchanged upload
    wait_for("second try", world.live)
    assert world.result("v1.tar.gz")["status"] == "deployed"
    assert (world.root / "app" / ".env").read_text() == "A=1"
    assert os.readlink(world.root / "app" / ".env") == "../../shared/.env"
    assert (world.root / "shared" / "uploads").is_dir()
    assert (world.root / "app" / "uploads").is_dir()


# --- restart and health ---


def test_a_release_that_does_not_start_is_rolled_back(agent: World) -> None:
    good = agent.deploy("v1")
    bad = agent.deploy("v2", exit=1)
    assert bad["status"] == "rolled-back", bad
    assert bad["error"]["code"] == "unit-crashed"
    assert "DATABASE_URL is not set" in bad["error"]["log"]
    assert bad["live"] == bad["previous"] == good["release"] == agent.live()
    assert bad["live_healthy"] is True
    assert bad["seconds"] < 3
    assert agent.ask()["version"] == "v1"
    assert ids(bad)[-4:] == ["swap", "restart", "health", "prune"]
    agent.await_dropped("v2.tar.gz")


def test_a_release_that_answers_500_is_rolled_back(agent: World) -> None:
    good = agent.deploy("v1")
    bad = agent.deploy("v2", status=500)
    assert (bad["status"], bad["error"]["code"], bad["error"]["step"]) == ("rolled-back", "health-timeout", "health")
    assert "answered 500" in bad["error"]["message"]
    assert bad["health"]["last_status"] == 500
    assert bad["health"]["attempts"] > 5
    assert agent.live() == good["release"]
    assert agent.ask()["version"] == "v1"


def test_on_failure_keep(world: World) -> None:
    world.configure('on_failure = "keep"')
    world.start()
    world.deploy("v1")
    bad = world.deploy("v2", status=500)
    assert (bad["status"], bad["live"], bad["live_healthy"]) == ("failed", bad["release"], False)
    assert world.ask()["version"] == "v2"


def test_a_first_deploy_that_fails_has_nothing_to_go_back_to(agent: World) -> None:
    bad = agent.deploy("v1", status=500)
    assert bad["status"] == "failed"
    assert "live" not in bad
    assert not (agent.root / "app").is_symlink()
    with pytest.raises(OSError, match=r"No such file|refused"):
        agent.ask()


def test_soak(world: World) -> None:
    world.configure(health='soak = "1s"')
    world.start()
    good = world.deploy("v1")
    assert good["status"] == "deployed"
    assert good["seconds"] > 1
    bad = world.deploy("v2", ill_after=2)
    assert (bad["status"], bad["live"]) == ("rolled-back", good["release"])
    crashed = world.deploy("v3", crash_after_s=0.4)
    assert crashed["status"] == "rolled-back", crashed


def test_the_way_back_fails_too(agent: World) -> None:
    good = agent.deploy("v1")
    broken = json.loads((agent.root / "app" / "behaviour.json").read_text()) | {"exit": 1}
    (agent.root / "app" / "behaviour.json").write_text(json.dumps(broken))
    bad = agent.deploy("v2", status=500)
    assert (bad["status"], bad["error"]["code"]) == ("failed", "rollback-failed")
    assert (bad["live"], bad["live_healthy"]) == (good["release"], False)
    assert "the way back to" in bad["error"]["message"]


# --- rollback, restart ---


def test_rollback_by_marker(agent: World) -> None:
    first, second = agent.deploy("v1"), agent.deploy("v2")
    agent.put("rollback")
    result = agent.result("rollback")
    assert (result["status"], result["action"], result["release"]) == ("deployed", "rollback", first["release"])
    assert result["previous"] == second["release"]
    assert agent.ask()["version"] == "v1"
    agent.await_dropped()
    agent.put("rollback")
    wait_for("second rollback", lambda: "error" in agent.result("rollback"))
    again = agent.result("rollback")
    assert (again["status"], again["error"]["code"]) == ("rejected", "nothing-to-roll-back-to")
    assert again["summary"] == "nothing was rolled back, nothing was touched"
    assert agent.ask()["version"] == "v1"


def test_rollback_to_a_named_release_by_any_editor(agent: World) -> None:
    first, _, third = agent.deploy("v1"), agent.deploy("v2"), agent.deploy("v3")
    agent.put("Rollback.TXT", f"\ufeff{first['release']}\r\n".encode())
    assert agent.result("Rollback.TXT")["release"] == first["release"]
    assert agent.ask()["version"] == "v1"
    agent.put("rollback", third["release"].encode())
    assert agent.result("rollback")["release"] == third["release"]
    agent.put("rollback.txt", b"20000101-000000\n")
    missing = agent.result("rollback.txt")
    assert (missing["status"], missing["error"]["code"]) == ("rejected", "no-such-release")


def test_rollback_passes_over_ill_releases(agent: World) -> None:
    first = agent.deploy("v1")
    agent.deploy("v2", status=500)
    agent.deploy("v3")
    agent.put("rollback")
    assert agent.result("rollback")["release"] == first["release"]


def test_a_rollback_whose_target_is_ill_returns(agent: World) -> None:
    first, second = agent.deploy("v1"), agent.deploy("v2")
    broken = {"version": "v1", "status": 500}
    (agent.root / "releases" / first["release"] / "behaviour.json").write_text(json.dumps(broken))
    agent.put("rollback")
    result = agent.result("rollback")
    assert (result["status"], result["live"], result["live_healthy"]) == ("rolled-back", second["release"], True)
    assert agent.ask()["version"] == "v2"


def test_restart(agent: World) -> None:
    agent.put("restart")
    nothing = agent.result("restart")
    assert (nothing["status"], nothing["error"]["code"]) == ("rejected", "no-such-release")
    assert nothing["summary"] == "nothing was restarted, nothing was touched"
    release = agent.deploy("v1")["release"]
    before = agent.ask()["pid"]
    (agent.drop / "restart.result.toml").unlink()
    agent.put("restart")
    result = agent.result("restart")
    assert (result["status"], result["action"], result["release"]) == ("deployed", "restart", release)
    assert agent.ask()["pid"] != before


# --- prune ---


def test_pruning_counts_healthy_releases(world: World) -> None:
    world.configure('keep = 2\nrate_limit = "off"')
    world.start()
    good = [world.deploy(f"v{number}")["release"] for number in range(3)]
    bad = [world.deploy(f"bad{number}", exit=1)["release"] for number in range(3)]
    assert world.releases() == [*good[1:], bad[-1]]


def test_a_release_that_was_removed_by_hand_is_nothing_to_go_back_to(agent: World) -> None:
    first, second = agent.deploy("v1"), agent.deploy("v2")
    shutil.rmtree(agent.root / "releases" / second["release"])
    bad = agent.deploy("v3", status=500)
    assert bad["status"] == "rolled-back"
    assert bad["live"] == first["release"] == agent.live()
