"""Real apps, uploaded by an account that has sftp and nothing else, on a server as its administrator set it up."""

from __future__ import annotations

import pytest

from tests.box.server import Server
from tests.box.uploading import Shop, open_shop


@pytest.fixture(scope="module")
def shops(own_server: Server) -> dict[str, Shop]:
    """Both apps, and an agent that watches for them."""
    shops = {
        "flask": open_shop(own_server, "flask", "shop", 'rate_limit = "off"'),
        "express": open_shop(own_server, "express", "chat", 'rate_limit = "off"'),
    }
    own_server.agent("start")
    return shops


@pytest.fixture(params=["flask", "express"])
def shop(shops: dict[str, Shop], request: pytest.FixtureRequest) -> Shop:
    return shops[request.param]


def test_two_deploys_and_two_rollbacks(shop: Shop) -> None:
    first = shop.deploy("v1")
    assert (first["status"], first["action"], first["live_healthy"]) == ("deployed", "deploy", True)
    assert "previous" not in first
    assert shop.live() == f"releases/{first['release']}"
    assert shop.ask()["version"] == "v1"
    assert shop.ask()["cwd"] == f"/home/{shop.site.name}/releases/{first['release']}"

    second = shop.deploy("v2")
    assert (second["status"], second["previous"]) == ("deployed", first["release"])
    assert shop.live() == f"releases/{second['release']}"
    assert shop.ask()["version"] == "v2"

    back = shop.roll_back()
    assert (back["status"], back["action"], back["live"]) == ("deployed", "rollback", first["release"])
    assert shop.ask()["version"] == "v1"

    named = shop.roll_back(second["release"])
    assert (named["status"], named["live"]) == ("deployed", second["release"])
    assert shop.ask()["version"] == "v2"
    assert shop.dropped() == []


def test_a_restart_by_marker(shop: Shop) -> None:
    release = shop.good()
    before = shop.ask()
    shop.mark("restart")
    restarted = shop.result("restart")
    assert (restarted["status"], restarted["action"], restarted["live"]) == ("deployed", "restart", release)
    after = shop.ask()
    assert (after["version"], after["cwd"]) == (before["version"], before["cwd"])
    assert after["pid"] != before["pid"]


def test_what_answers_500_is_rolled_back(shop: Shop) -> None:
    good = shop.good()
    bad = shop.deploy("bad", column="price")
    assert (bad["status"], bad["error"]["code"], bad["error"]["step"]) == ("rolled-back", "health-timeout", "health")
    assert (bad["live"], bad["live_healthy"], bad["previous"]) == (good, True, good)
    assert "/health answered 500 for " in bad["error"]["message"]
    assert "no such column: price" in bad["error"]["log"]
    assert bad["health"]["last_status"] == 500
    assert shop.live() == f"releases/{good}"
    assert shop.ask()["cwd"].endswith(good)
    assert [step["name"] for step in bad["steps"]][-4:] == ["swap", "restart", "health", "prune"]
    assert shop.dropped() == ["bad" + shop.ending]


def test_what_crashes_while_it_boots_is_rolled_back_at_once(shop: Shop) -> None:
    good = shop.good()
    bad = shop.deploy("bad", needs="DATABASE_URL")
    assert (bad["status"], bad["error"]["code"], bad["error"]["step"]) == ("rolled-back", "unit-crashed", "health")
    assert f"{shop.site.unit} has crashed 2 times since the restart" in bad["error"]["message"]
    assert "DATABASE_URL" in bad["error"]["log"]
    assert bad["live"] == good
    assert shop.ask()["cwd"].endswith(good)


def test_what_cannot_even_start_is_rolled_back(shops: dict[str, Shop]) -> None:
    shop = shops["flask"]
    good = shop.good()
    bad = shop.deploy("bad", without="vendor")
    assert (bad["status"], bad["error"]["code"], bad["error"]["step"]) == ("rolled-back", "restart-failed", "restart")
    assert bad["error"]["message"].startswith("the restart job of shop.service failed; it is ")
    assert "No module named gunicorn" in bad["error"]["log"]
    assert shop.ask()["cwd"].endswith(good)


def test_zstandard_and_an_upload_that_is_closed_to_others(shops: dict[str, Shop]) -> None:
    shop = shops["express"]
    archive = shop.checkout.pack("private.tar.zst", "private")
    shop.path(archive).chmod(0o600)
    shop.site.sftp("put -p private.tar.zst")
    assert shop.box.run("stat", "-c", "%A %U", f"{shop.site.drop}/private.tar.zst", check=False).out in (
        "-rw------- up-chat\n",
        "",  # deployed already
    )
    assert shop.result("private.tar.zst")["status"] == "deployed"
    assert shop.ask()["version"] == "private"


def test_after_seven_deploys_five_are_left(shops: dict[str, Shop]) -> None:
    shop = shops["express"]
    bad = shop.deploy("bad", needs="DATABASE_URL")["release"]
    shop.checkout.pack("v.zip", "v")
    names = [f"v{number}.zip" for number in range(7)]
    shop.site.sftp(*(f"put v.zip {name}" for name in names))
    good = [shop.site.result(name)["release"] for name in names]
    shop.result(names[-1])
    assert good == sorted(good)
    assert shop.releases() == [bad, *good[-5:]]
    assert shop.ask()["cwd"].endswith(good[-1])
    gone = shop.roll_back(good[0])
    assert (gone["status"], gone["error"]["code"]) == ("rejected", "no-such-release")
    assert ", ".join(reversed(good[-5:-1])) in gone["error"]["message"]
    assert gone["summary"] == "nothing was rolled back, nothing was touched"
