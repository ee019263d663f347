"""A history that is gone, cut, damaged or of another version: it is rebuilt from what is on disk, and deploys go on."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.world import World, build, wait_for


def remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, 2 * path.stat().st_size // 3)


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 3000] = os.urandom(3000)
    path.write_bytes(content)


def replace(path: Path) -> None:
    path.write_text("This is not a database, but somebody's shopping list.\n" * 100)


def upgrade(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.close()


@pytest.mark.parametrize(
    ("harm", "mark"),
    [(remove, ""), (empty, ""), (cut, "damaged"), (scribble, "damaged"), (replace, "damaged"), (upgrade, "schema-7")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_rebuilt(world: World, harm: Callable[[Path], None], mark: str) -> None:
    world.start()
    first = world.deploy("v1")["release"]
    ill = world.deploy("v2", exit=1)
    third = world.deploy("v3")
    assert world.stop() == 0
    path = world.state / "history.db"
    harm(path)
    harmed = path.read_bytes() if path.exists() else b""

    world.start()
    log = world.log.read_text()
    assert "the history is new: 3 verdicts recalled from the result files in the drop directories" in log
    aside = [file for file in world.state.iterdir() if re.fullmatch(r"history\.db\..*\d", file.name)]
    assert len(aside) == bool(mark)
    if mark:
        assert re.fullmatch(rf"history\.db\.{mark}-\d{{8}}-\d{{6}}", aside[0].name)
        assert aside[0].read_bytes() == harmed
        assert f"it is kept as {aside[0]}, and a new history begins" in log

    # What was answered is not taken again, and numbers go on.
    world.await_dropped("v2.tar.gz")
    assert ("v2.tar.gz.result.toml" in os.listdir(world.drop), world.live()) == (True, third["release"])
    world.put("rollback")
    back = world.result("rollback")
    assert (back["id"], back["status"], back["release"]) == (third["id"] + 1, "deployed", first)  # not the ill one
    assert ill["release"] in world.releases()
    listed = world.run("history").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["4", "3", "2", "1"]
    # The operator is told once.
    assert world.stop() == 0
    world.log.write_text("")
    world.start()
    assert "history" not in world.log.read_text()


def test_results_that_somebody_else_wrote_are_not_believed(world: World) -> None:
    world.start()
    forged = world.deploy("v1")["release"]
    text = (world.drop / "v1.tar.gz.result.toml").read_text()
    world.stop()
    (world.drop / "v9.tar.gz.result.toml").write_text(text.replace("id = 1\n", "id = 900\n"))
    if os.geteuid() == 0:
        os.chown(world.drop / "v9.tar.gz.result.toml", 12345, 12345)
    else:
        (world.drop / "v9.tar.gz.result.toml").unlink()
    (world.drop / "nonsense.result.toml").write_text("schema = 1\n")
    (world.drop / "pipe.result.toml").unlink(missing_ok=True)
    os.mkfifo(world.drop / "pipe.result.toml")
    remove(world.state / "history.db")
    world.start()
    assert world.deploy("v2")["id"] == 2
    assert world.live() > forged


def test_damage_that_is_found_in_the_middle(world: World) -> None:
    world.start()
    world.deploy("v1")
    assert world.process is not None
    path = world.state / "history.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    other.execute("PRAGMA user_version = 1")  # whoever has pages in memory reads them again
    other.close()
    world.put("v2.tar.gz", build("v2"))
    assert world.process.wait(30) == 3
    world.process = None
    assert "is damaged: " in world.log.read_text()
    assert "the agent ends, and begins a new history when it is started again" in world.log.read_text()
    world.log.write_text("")  # with what the lanes said of the database
    world.start()
    found = world.result("v2.tar.gz")
    assert (found["status"], found["id"]) == ("deployed", 2)
    wait_for("the app", lambda: world.ask()["version"] == "v2")
