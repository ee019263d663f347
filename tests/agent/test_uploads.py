"""What stands in the drop directory after a deploy, and what is written over it."""

from __future__ import annotations

import hashlib
import os
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.agent.world import World, build, files_of, tar, wait_for


def verdict(world: World, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((world.drop / f"{name}.result.toml").read_text())
    except FileNotFoundError:
        return {}


def deploy_v1(world: World) -> tuple[Path, Path]:
    """The archive, which is there until `settle` is over, and its result."""
    upload, result = world.put("v1.tar.gz", build("v1")), world.drop / "v1.tar.gz.result.toml"
    wait_for("result", result.exists)
    wait_for("end of the work", lambda: not (world.drop / "v1.tar.gz.deploying").exists())
    return upload, result


def test_a_deployed_archive_goes_when_nothing_was_done_to_it_for_settle(world: World) -> None:
    """A client far away sets times, looks again and sends the checksum when the result has long been there."""
    world.configure('settle = "2s"')
    world.start()
    upload, result_path = deploy_v1(world)
    result = tomllib.loads(result_path.read_text())
    assert result["status"] == "deployed"
    assert result["seconds"] < 2, "the result does not wait for the upload to be deleted"
    for late in range(2):
        time.sleep(1.2)
        assert upload.exists()
        os.utime(upload, (1_600_000_000 + late, 1_600_000_000))
        os.utime(upload, (1_600_000_000, 1_600_000_000 + late))
    upload.chmod(0o600)
    (world.drop / "v1.tar.gz.sha256").write_text(result["sha256"])
    (world.drop / "v1.tar.gz.ready").touch()
    touched = time.time()
    wait_for("the upload to be cleared away", lambda: world.dropped() == [])
    assert time.time() - touched >= 1.9
    assert tomllib.loads(result_path.read_text()) == result
    assert world.deploy("v2")["id"] == result["id"] + 1


def test_a_deployed_archive_that_is_touched_time_and_again_is_one_archive(world: World) -> None:
    """Its times change between the agent's look at the directory and that at the file."""
    world.configure('settle = "3s"')
    world.start()
    upload, result_path = deploy_v1(world)
    result = tomllib.loads(result_path.read_text())
    (world.drop / "v1.tar.gz.ready").touch()
    for number in range(3000):
        os.utime(upload, (1_600_000_000, 1_600_000_000 + number))
    wait_for("the upload to be cleared away", lambda: world.dropped() == [])
    assert tomllib.loads(result_path.read_text()) == result
    assert world.log.read_text().count(": v1.tar.gz\n") == 1, "it was deployed once"


def test_a_deployed_archive_that_was_due_goes_after_a_restart(world: World) -> None:
    world.configure('settle = "1h"')
    world.start()
    world.put("v1.tar.gz", build("v1"))
    wait_for("result", (world.drop / "v1.tar.gz.result.toml").exists)
    wait_for("end of the work", lambda: not (world.drop / "v1.tar.gz.deploying").exists())
    assert world.stop() == 0
    world.await_dropped("v1.tar.gz")
    world.configure()
    world.start()
    wait_for("the upload to be cleared away", lambda: world.dropped() == [])
    assert world.live()
    assert len(world.releases()) == 1


def test_the_next_build_over_a_deployed_one_that_is_still_there(world: World) -> None:
    world.configure('settle = "1h"')
    world.start()
    for version in ("v1", "v2", "v3"):  # in place, and of a size
        content = build(version)
        digest = hashlib.sha256(content).hexdigest()
        (world.drop / "build.tar.gz").write_bytes(content)
        wait_for(version, lambda digest=digest: verdict(world, "build.tar.gz").get("sha256") == digest)
    assert verdict(world, "build.tar.gz")["status"] == "deployed"
    assert len(world.releases()) == 3


# --- what only another's word can prove ---


def overwrite_half(path: Path, content: bytes) -> None:
    """As scp does it to a file that is there, when it is killed midway."""
    with path.open("r+b") as file:
        file.write(content[: len(content) // 2])


def twins(packing: str) -> tuple[bytes, bytes]:
    """Two builds of the same layout, the second of which stands where the first one was but for a half."""
    padding = {f"file-{number}": "x" * 3000 for number in range(30)}
    return tuple(tar({**files_of(version), **padding, "z": version}, packing) for version in ("v1", "v2"))  # type: ignore[return-value]


@pytest.mark.parametrize("word", ["ready", "sha256", "anew"])
def test_a_plain_tar_that_was_written_in_pieces_needs_a_word(world: World, word: str) -> None:
    world.configure('after = "keep"\nstall = "300ms"')
    world.start()
    first, second = twins("")
    assert len(first) == len(second)
    upload = world.drop / "build.tar"
    world.put("build.tar", first)
    assert world.result("build.tar")["status"] == "deployed"
    overwrite_half(upload, second)
    assert upload.read_bytes() not in (first, second)
    mixed = wait_for("verdict", lambda: (found := verdict(world, "build.tar")).get("status") == "incomplete" and found)
    assert mixed["error"]["code"] == "checksum-missing"
    assert "half of one and half of another" in mixed["error"]["message"]
    assert world.live() == world.releases()[-1]
    assert len(world.releases()) == 1
    if word == "anew":
        world.put("build.tar", second)
    else:
        with upload.open("r+b") as file:
            file.write(second)
        sums = {"ready": b"", "sha256": hashlib.sha256(second).hexdigest().encode()}
        (world.drop / f"build.tar.{word}").write_bytes(sums[word])
    wait_for("the second build live", lambda: len(world.releases()) == 2)
    result = world.result("build.tar")
    assert result["status"] == "deployed"
    assert result["sha256"] == hashlib.sha256(second).hexdigest()


def test_a_checksum_of_something_else_does_not_vouch_for_pieces(world: World) -> None:
    world.configure('after = "keep"\nstall = "300ms"')
    world.start()
    first, second = twins("")
    world.put("build.tar", first)
    world.result("build.tar")
    (world.drop / "build.tar.sha256").write_text(hashlib.sha256(second).hexdigest())
    overwrite_half(world.drop / "build.tar", second)
    mixed = wait_for("verdict", lambda: (found := verdict(world, "build.tar")).get("status") == "rejected" and found)
    assert mixed["error"]["code"] == "checksum-mismatch"
    assert len(world.releases()) == 1
