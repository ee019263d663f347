"""Memory that is used up in the middle of a deploy, of whom it is taken, and what the uploader reads of it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.agent.world import tar
from tests.box.machine import wait_until
from tests.box.memory import has_controller, memory_of, obstacle
from tests.box.server import AGENT_UNIT, Server, Site
from tests.unit.releases.archives import END, header

APP = """
import http.server, time
if HUNGER:
    time.sleep(1)  # in which whoever sets limits finds it
    eaten = b"x" * (HUNGER << 20)
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", 7001), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
UNIT = "[Service]\nUser=shop\nWorkingDirectory=/home/shop/app\nExecStart=/usr/bin/python3 run.py\n"
CONFIG = 'rate_limit = "off"\nsettle = "200ms"\n[health]\nurl = "http://127.0.0.1:7001/run.py"\ntimeout = "30s"\n'
LARGE_MIB = 136


@pytest.fixture(scope="module")
def shop(own_server: Server) -> Site:
    if told := obstacle(own_server.box):
        pytest.skip(told)
    site = own_server.add_app("shop", CONFIG)
    own_server.add_unit(site.unit, UNIT)
    own_server.box.run("systemctl", "restart", "ssh.service")
    own_server.agent("start")
    assert deploy(site, "good.tar.gz", app())["status"] == "deployed"
    return site


def app(hunger_mib: int = 0) -> bytes:
    return tar({"run.py": APP.replace("HUNGER", str(hunger_mib))})


def upload(site: Site, name: str, content: bytes) -> None:
    site.box.path(f"/home/laptop/{name}").write_bytes(content)
    site.sftp(f"-rm {name}.result.toml", f"put {name}")


def deploy(site: Site, name: str, content: bytes) -> dict[str, Any]:
    upload(site, name, content)
    return result(site, name)


def result(site: Site, name: str) -> dict[str, Any]:
    found = site.result(name)
    wait_until(lambda: not site.box.path(f"{site.drop}/{name}.deploying").exists(), f"the end of {name}")
    return found


def live(site: Site) -> str:
    return os.readlink(site.box.path(f"{site.root}/app")).removeprefix("releases/")


def agent_starts(site: Site) -> str:
    return site.box.unit(AGENT_UNIT, "NRestarts")["NRestarts"]


def needs_much_memory(site: Site) -> bytes:
    """An archive whose window, as `zstd --ultra -22 --long=27` makes it, is larger than what there is."""
    large = site.box.path("/home/laptop/large.tar")
    piece = os.urandom(1 << 20)
    script = APP.replace("HUNGER", "0").encode()
    padded = script + bytes(-len(script) % 512)
    large.write_bytes(
        header(b"run.py", size=len(script)) + padded + header(b"large", size=LARGE_MIB << 20) + piece * LARGE_MIB + END
    )
    site.box.run("zstd", "-q", "-1", "--long=27", "--check", "/home/laptop/large.tar")
    return site.box.path("/home/laptop/large.tar.zst").read_bytes()


def test_the_unpacker_is_ended(shop: Site) -> None:
    before, starts = live(shop), agent_starts(shop)
    content = needs_much_memory(shop)
    with memory_of(shop.box, AGENT_UNIT, "80M"):
        refused = deploy(shop, "large.tar.zst", content)
    assert (refused["status"], refused["live"], refused["live_healthy"]) == ("rejected", before, True)
    assert (refused["error"]["code"], refused["error"]["step"]) == ("internal", "extract")
    assert refused["error"]["message"].startswith("the unpacker was killed (SIGKILL), most likely because the memory")
    assert "`journalctl -k` on the server tells which was short; then upload its .ready" in refused["error"]["hint"]
    assert agent_starts(shop) == starts
    assert [name for name in os.listdir(shop.box.path(f"{shop.root}/releases")) if name.startswith(".")] == []
    shop.box.path("/home/laptop/large.tar.zst.ready").touch()
    shop.sftp("rm large.tar.zst.result.toml", "put large.tar.zst.ready")
    assert result(shop, "large.tar.zst")["status"] == "deployed"


def test_the_agent_is_ended(shop: Site) -> None:
    starts = agent_starts(shop)
    upload(shop, "v2.tar.gz", app(1))
    wait_until(lambda: shop.box.path(f"{shop.drop}/v2.tar.gz.deploying").exists(), "the deploy to begin")
    with memory_of(shop.box, AGENT_UNIT, "4K"):
        wait_until(lambda: agent_starts(shop) != starts, "the kernel to end the agent, and systemd to start it", 60)
    found = result(shop, "v2.tar.gz")
    assert (found["status"], found["live"]) == ("deployed", live(shop)), found


def test_the_app_is_ended(shop: Site) -> None:
    before = live(shop)
    with memory_of(shop.box, shop.unit, "64M"):
        found = deploy(shop, "hungry.tar.gz", app(200))
    assert (found["status"], found["live"], found["live_healthy"]) == ("rolled-back", before, True)
    assert found["error"]["code"] == "unit-crashed"
    if has_controller(shop.box):
        assert "was killed because the memory was used up (result oom-kill)" in found["error"]["message"]
        assert "(MemoryMax=)" in found["error"]["hint"]
    else:
        assert "was killed by signal KILL (result signal)" in found["error"]["message"]
        assert "most likely the memory was used up" in found["error"]["hint"]
