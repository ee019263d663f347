"""The agent as a service: told by systemctl, reloaded, restarted, killed, and switched off with the machine."""

from __future__ import annotations

import time

import pytest

from tests.box.machine import wait_until
from tests.box.server import AGENT_UNIT, Server
from tests.box.uploading import Shop, open_shop

CONFIG = 'rate_limit = "off"\n[hooks]\nbefore_swap = ["shop-migrate@.service"]\n'
HOOK = """
[Service]
Type=oneshot
User=shop
WorkingDirectory=/home/shop/releases/%i
ExecStart=/bin/sh -c 'test ! -e /home/shop/shared/slow || sleep 1'
"""


@pytest.fixture(scope="module")
def shop(own_server: Server) -> Shop:
    """A Flask app whose releases are migrated before they go live, and an agent that starts with the machine."""
    shop = open_shop(own_server, "flask", "shop", CONFIG, ["shop.service", "shop-migrate@.service"])
    own_server.add_unit("shop-migrate@.service", HOOK)
    own_server.box.run("systemctl", "enable", "--quiet", "--now", AGENT_UNIT)
    return shop


def told_by_systemctl(shop: Shop) -> str:
    return shop.box.unit(AGENT_UNIT, "StatusText")["StatusText"]


def await_step(shop: Shop, name: str, *steps: str) -> None:
    wait_until(lambda: shop.deploying(name).get("step") in steps, f"{name} in {steps}")


def kill_agent(shop: Shop) -> None:
    shop.box.run("systemctl", "kill", "--signal=KILL", AGENT_UNIT)


# --- told, reloaded, restarted -------------------------------------------------------------------------------------


def test_systemctl_status_tells_what_is_going_on(shop: Shop) -> None:
    assert told_by_systemctl(shop) == "watching 1 app"
    name = shop.upload("v1", boot_s=1)
    wait_until(lambda: told_by_systemctl(shop) == "shop: v1.tar.gz: health", "the step in the status")
    assert 'Status: "shop: v1.tar.gz: health"' in shop.box.run("systemctl", "status", AGENT_UNIT).out
    shop.result(name)
    last = "watching 1 app; last: shop: v1.tar.gz deployed, 20"
    wait_until(lambda: told_by_systemctl(shop).startswith(last), "the verdict in the status")


def test_what_came_while_the_agent_was_down(own_server: Server, shop: Shop) -> None:
    bad = shop.deploy("bad", needs="DATABASE_URL")
    live = shop.good()
    own_server.agent("stop")
    assert shop.ask()["cwd"].endswith(live)  # the app is systemd's, and runs on
    first, second = shop.upload("first"), shop.upload("second")
    own_server.agent("start")
    results = [shop.result(first), shop.result(second)]
    assert [result["status"] for result in results] == ["deployed", "deployed"]
    # Nothing between: what was answered before is not answered again.
    assert [result["id"] for result in results] == [bad["id"] + 1, bad["id"] + 2]
    assert shop.ask()["version"] == "second"
    assert shop.dropped() == ["bad.tar.gz"]


def test_a_reload(own_server: Server, shop: Shop) -> None:
    file = "/etc/dropdeploy/apps.d/shop.toml"
    before = shop.path(file).read_text()
    since = time.time()
    try:
        shop.path(file).write_text(before.replace("rate_limit", "rate_limt"))
        own_server.agent("reload")
        diary = shop.box.journal(AGENT_UNIT, since=since)
        assert f'{file}: rate_limt = "off": unknown key, did you mean "rate_limit"?' in diary, diary
        assert "the configuration has 1 mistake: the old one stays in force" in diary, diary
        assert shop.deploy("old")["status"] == "deployed"

        shop.path(file).write_text(before.replace("[health]", '[health]\nsoak = "1500ms"'))
        own_server.agent("reload")
        assert "configuration read again: 1 app, 1 changed or new" in shop.box.journal(AGENT_UNIT, since=since)
        crashed = shop.deploy("soaked", crash_after_s=1)
        assert (crashed["status"], crashed["error"]["step"]) == ("rolled-back", "health")
        assert shop.ask()["version"] == "old"
    finally:
        shop.path(file).write_text(before)
        own_server.agent("reload")


def test_a_deploy_in_progress_is_finished_before_the_agent_stops(own_server: Server, shop: Shop) -> None:
    name = shop.upload("v2", boot_s=1)
    await_step(shop, name, "restart", "health")
    own_server.agent("restart")
    assert shop.result(name)["status"] == "deployed"
    assert shop.ask()["version"] == "v2"


def test_a_unit_that_is_not_there_keeps_nobody_else_from_deploying(own_server: Server, shop: Shop) -> None:
    own_server.agent("stop")
    unit = f"/etc/systemd/system/{shop.site.unit}"
    aside = shop.path(unit).rename(shop.path("/root/aside"))
    shop.box.run("systemctl", "stop", shop.site.unit)
    shop.box.run("systemctl", "daemon-reload")
    since = time.time()
    try:
        own_server.agent("start")
        told = (
            'apps.d/shop.toml: unit = "shop.service": there is no such unit; install it, or name another; '
            "until that is mended its deploys are rejected"
        )
        assert told in shop.box.journal(AGENT_UNIT, since=since)
        rejected = shop.deploy("too-early")
        assert (rejected["status"], rejected["error"]["code"]) == ("rejected", "unit-not-found")
    finally:
        aside.rename(shop.path(unit))
        shop.box.run("systemctl", "daemon-reload")
    assert shop.deploy("mended")["status"] == "deployed"
    assert shop.ask()["version"] == "mended"


# --- killed --------------------------------------------------------------------------------------------------------


def test_killed_before_the_swap(shop: Shop) -> None:
    live = shop.good()
    slow = shop.path("/home/shop/shared/slow")
    slow.touch()
    name = shop.upload("hooked")
    await_step(shop, name, "hooks")
    kill_agent(shop)
    assert shop.live() == f"releases/{live}"
    slow.unlink()
    found = shop.result(name)  # systemd starts the agent anew, which takes the upload again
    assert (found["status"], found["previous"]) == ("deployed", live)
    assert shop.ask()["version"] == "hooked"
    assert not [release for release in shop.releases() if release.startswith(".")]


def test_killed_while_the_app_restarts(shop: Shop) -> None:
    shop.good()
    name = shop.upload("slow", boot_s=1)
    await_step(shop, name, "restart", "health")
    kill_agent(shop)
    found = shop.result(name)
    assert (found["status"], found["live"]) == ("deployed", found["release"])
    assert shop.ask()["version"] == "slow"


def test_killed_while_the_app_is_ill(shop: Shop) -> None:
    good = shop.good()
    name = shop.upload("ill", needs="DATABASE_URL")
    await_step(shop, name, "health")
    kill_agent(shop)
    assert shop.live() != f"releases/{good}"
    found = shop.result(name)
    assert (found["status"], found["error"]["code"], found["live"]) == ("rolled-back", "unit-crashed", good)
    assert "DATABASE_URL" in found["error"]["log"]
    assert shop.ask()["cwd"].endswith(good)


def test_killed_on_the_way_back(shop: Shop) -> None:
    good = shop.good()
    name = shop.upload("crashing", needs="DATABASE_URL")
    wait_until(lambda: shop.live() == f"releases/{good}", "the first deploy's end")
    wait_until(lambda: shop.live() != f"releases/{good}", "the swap")
    wait_until(lambda: shop.live() == f"releases/{good}", "the way back")
    kill_agent(shop)
    found = shop.result(name)
    assert (found["status"], found["live"], found["live_healthy"]) == ("rolled-back", good, True)
    assert found["error"]["code"] == "unit-crashed"
    assert shop.ask()["cwd"].endswith(good)


# --- the machine ---------------------------------------------------------------------------------------------------


def test_a_reboot(shop: Shop) -> None:
    release = shop.deploy("before")["release"]
    shop.box.reboot()
    assert shop.ask() | {"pid": 0} == {"version": "before", "pid": 0, "cwd": f"/home/shop/releases/{release}"}
    assert told_by_systemctl(shop).startswith("watching 1 app; last: shop: before.tar.gz deployed")
    assert shop.deploy("after")["status"] == "deployed"


@pytest.mark.parametrize("step", ["hooks", "health"])
def test_a_power_cut(shop: Shop, step: str) -> None:
    shop.good()
    shop.path("/home/shop/shared/slow").touch()
    name = shop.upload(f"cut-{step}", boot_s=1)
    await_step(shop, name, step)
    shop.box.crash()
    shop.box.boot()
    found = shop.result(name)
    assert (found["status"], found["live"]) == ("deployed", found["release"])
    assert shop.ask()["version"] == f"cut-{step}"
    shop.path("/home/shop/shared/slow").unlink()
