"""Real apps, uploaded by an account that has sftp and nothing else, on a server as its administrator set it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.box.machine import Box
from tests.box.server import AGENT_UNIT, Server
from tests.box.uploading import Shop, open_shop


@pytest.fixture(scope="module")
def server(new_box: Callable[[], Box]) -> Iterator[Server]:
    """A box of this module's own."""
    server = Server(new_box())
    yield server
    diary = server.box.journal(AGENT_UNIT)
    assert "Traceback" not in diary, diary
    assert "asyncio" not in diary, diary
    server.box.crash()


@pytest.fixture(scope="module")
def shops(server: Server) -> dict[str, Shop]:
    """Both apps, and an agent that watches for them."""
    shops = {
        "flask": open_shop(server, "flask", "shop", 'rate_limit = "off"'),
        "express": open_shop(server, "express", "chat", 'rate_limit = "off"'),
    }
    server.agent("start")
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
