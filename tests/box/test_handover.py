"""strategy = "handover": releases of a real app replaced on one socket, under load, whatever becomes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.box.activated import Activated, Seen, open_activated
from tests.box.machine import Box, wait_until
from tests.box.server import AGENT_UNIT, Server

PORT = 4300
CONFIG = """
rate_limit = "off"
strategy = "handover"
settle = "300ms"
[health]
url = "http://127.0.0.1:4300/health"
interval = "500ms"
timeout = "60s"
"""
CRASH_LOOP = """[Unit]
StartLimitIntervalSec=1min
StartLimitBurst=2
[Service]
ExecStart=
ExecStart=/bin/false
"""
# An instance that hangs on SIGTERM is not waited for longer.
IMPATIENT = "[Service]\nTimeoutStopSec=2s\n"


@dataclass
class Shop:
    """The app, and who uploads it with a rename as the last step."""

    app: Activated
    number: int = 0

    @property
    def box(self) -> Box:
        return self.app.box

    def upload(self, **behaviour: object) -> str:
        """Returns the upload's name."""
        self.number += 1
        name = f"build-{self.number}.tar.gz"
        archive = self.app.checkout.pack("build.tar.gz", f"v{self.number}", without="", slow_s=0.5, **behaviour)
        self.drop(name, archive)
        return name

    def drop(self, name: str, source: str = "/dev/null") -> None:
        place = self.box.path(self.app.site.drop)
        (place / f"{name}.result.toml").unlink(missing_ok=True)
        if source == "/dev/null":
            (place / ".uploading").write_text("")
        else:
            shutil.copy(self.box.path(source), place / ".uploading")
        (place / ".uploading").rename(place / name)

    def result(self, name: str) -> dict[str, Any]:
        result = self.app.site.result(name, 90)
        gone = self.box.path(f"{self.app.site.drop}/{name}.deploying")
        wait_until(lambda: not gone.exists(), f"the end of {name}", 60)
        return result

    def deploy(self, **behaviour: object) -> dict[str, Any]:
        return self.result(self.upload(**behaviour))

    def mark(self, name: str) -> dict[str, Any]:
        self.drop(name)
        return self.result(name)

    def running(self) -> list[str]:
        """The units of the app that run."""
        listed = self.box.run(
            *("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating,reloading"),
            *(self.app.site.unit, f"{self.app.site.name}@*.service"),
        ).out
        return [line.split()[0] for line in listed.splitlines()]

    def live(self) -> str:
        return self.box.run("readlink", f"{self.app.site.root}/app").out.strip().removeprefix("releases/")

    def is_served_by(self, unit: str, release: str) -> None:
        """This unit runs, alone, and is the live release; nothing is left over."""
        assert self.running() == [unit]
        assert self.live() == release
        assert self.app.is_failed() == ""


@pytest.fixture(scope="module")
def shop(own_server: Server) -> Shop:
    """The app is live, run by an instance."""
    app = open_activated(own_server, "express", "shop", PORT, CONFIG)
    for unit in ("shop@.service", "shop.service"):
        own_server.box.write(f"/etc/systemd/system/{unit}.d/impatient.conf", IMPATIENT)
    own_server.box.run("systemctl", "daemon-reload")
    own_server.agent("start")
    shop = Shop(app)
    first = shop.deploy()
    assert (first["status"], first["live_healthy"]) == ("deployed", True), first
    shop.is_served_by(app.instance(first["release"]), first["release"])
    return shop


@pytest.fixture
def impatient(shop: Shop, own_server: Server) -> Iterator[None]:
    """What is ill is waited for no longer than it takes to boot on a busy machine."""

    def configure(old: str, new: str) -> None:
        config = shop.box.path("/etc/dropdeploy/apps.d/shop.toml")  # another one after a reboot
        config.write_text(config.read_text().replace(f'timeout = "{old}"', f'timeout = "{new}"'))
        own_server.agent("reload")

    configure("60s", "9s")
    yield
    configure("9s", "60s")


def lost(seen: Seen) -> tuple[dict[str, int], list[str]]:
    """What failed, and the first of it in detail."""
    return seen.failures, [line for summary in seen.values() for line in summary["details"]]


NOTHING: tuple[dict[str, int], list[str]] = ({}, [])


def steps(result: dict[str, Any]) -> list[str]:
    return [step["name"] for step in result["steps"]]


def test_what_hangs_on_sigterm_is_waited_for_and_ended(shop: Shop) -> None:
    hanging = shop.deploy(hangs=True, leaks=True)
    with shop.app.load() as seen:
        result = shop.deploy()
    assert (hanging["status"], result["status"]) == ("deployed", "deployed")
    assert lost(seen) == NOTHING
    shop.is_served_by(shop.app.instance(result["release"]), result["release"])


def test_deploys_restarts_and_a_rollback_lose_no_request(shop: Shop) -> None:
    with shop.app.load(new=3, keep_alive=3, slow=2) as seen:
        releases = []
        for _ in range(5):
            result = shop.deploy()
            assert result["status"] == "deployed", result
            releases.append(result["release"])
        restarted = shop.mark("restart")
        assert (restarted["status"], restarted["live"]) == ("deployed", releases[-1])
        shop.is_served_by("shop.service", releases[-1])
        again = shop.mark("restart")
        assert again["status"] == "deployed"
        shop.is_served_by(shop.app.instance(releases[-1]), releases[-1])
        assert shop.mark("restart")["status"] == "deployed"
        back = shop.mark("rollback")
        assert (back["status"], back["live"]) == ("deployed", releases[-2])
    assert lost(seen) == NOTHING
    assert set(releases) <= seen.releases
    shop.is_served_by(shop.app.instance(releases[-2]), releases[-2])
    order = ["preflight", "extract", "link", "restart", "health", "swap", "restart", "health", "prune"]
    assert steps(result) == order
    beside, alone = (step["detail"] for step in result["steps"] if step["name"] == "health")
    assert beside.endswith("(8 attempts), on the socket that both have")
    assert alone.endswith(f"(1 attempt), {shop.app.instance(releases[-1])} alone")


def await_state(shop: Shop, *states: str, but: str) -> str:
    """The instance that is in one of these states, once there is one; ``but`` is not meant."""

    def find() -> list[str]:
        listed = shop.box.run(
            *("systemctl", "list-units", "--all", "--plain", "--no-legend", f"--state={','.join(states)}"),
            f"{shop.app.site.name}@*.service",
        ).out
        return [line.split()[0] for line in listed.splitlines() if line.split()[0] != but]

    wait_until(find, f"an instance that is {' or '.join(states)}", 30)
    return find()[0]


ILL: dict[str, tuple[dict[str, object], str, str]] = {
    "does not start": ({"needs": "DATABASE_URL"}, "restart-failed", "DATABASE_URL is not set"),
    "never gets ready, and hangs on SIGTERM": ({"boot_s": 3600, "hangs": True}, "health-timeout", "booting v"),
    "answers 500": ({"column": "price"}, "health-timeout", "no such column: price"),
}


@pytest.mark.parametrize(
    ("plain", "kind"),
    [
        (False, "does not start"),
        (False, "never gets ready, and hangs on SIGTERM"),
        (True, "does not start"),
        (True, "answers 500"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_what_is_ill_leaves_the_old_one_alone(shop: Shop, plain: bool, kind: str) -> None:
    behaviour, code, log = ILL[kind]
    live = shop.live()
    serving = "shop.service" if plain else shop.app.instance(live)
    if shop.running() != [serving]:
        assert shop.mark("restart")["status"] == "deployed"
    before = shop.box.unit(serving, "InvocationID", "MainPID")
    with shop.app.load() as seen:
        result = shop.deploy(**behaviour)
    assert (result["status"], result["error"]["code"]) == ("rolled-back", code), result
    assert (result["live"], result["live_healthy"]) == (live, True)
    assert log in result["error"]["log"]
    assert lost(seen) == NOTHING
    if kind == "answers 500" and "swap" in steps(result):
        # The old one had answered all that was asked while both ran: it was started again, beside the ill one.
        shop.is_served_by(shop.app.instance(live), live)
        return
    shop.is_served_by(serving, live)
    assert shop.box.unit(serving, "InvocationID", "MainPID") == before


def test_cancel_while_the_new_one_boots(shop: Shop) -> None:
    live, serving = shop.live(), shop.running()
    name = shop.upload(boot_s=3600)
    new = await_state(shop, "activating", but=serving[0])
    shop.drop("cancel")
    result = shop.result(name)
    assert (result["status"], result["live"], result["live_healthy"]) == ("cancelled", live, True), result
    assert shop.running() == serving
    assert shop.app.is_failed() == ""
    assert not shop.box.path(f"{shop.app.site.root}/releases/{result['release']}").exists(), new


def test_a_socket_that_a_crash_loop_took_down_is_brought_up(shop: Shop) -> None:
    box, drop_in = shop.box, "/etc/systemd/system/shop.service.d/loop.conf"
    box.write(drop_in, CRASH_LOOP)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "stop", *shop.running())

    def is_down() -> bool:
        box.run("curl", "-s", "--max-time", "0.2", shop.app.url, check=False)
        return box.unit("shop.socket", "ActiveState")["ActiveState"] == "failed"

    wait_until(is_down, "the socket's end", 60)
    box.run("rm", drop_in)
    box.run("systemctl", "daemon-reload")
    result = shop.deploy()
    assert result["status"] == "deployed", result
    assert box.unit("shop.socket", "ActiveState") == {"ActiveState": "active"}
    shop.is_served_by(shop.app.instance(result["release"]), result["release"])


# --- the agent is killed, and the machine, in the middle of it ---


def kill_agent(shop: Shop) -> None:
    shop.box.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", AGENT_UNIT)


MOMENTS: dict[str, dict[str, object]] = {
    "activating": {"boot_s": 1.5},
    "ill": {"column": "price"},
    "draining": {},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_agent_that_is_killed_goes_on(shop: Shop, moment: str, request: pytest.FixtureRequest) -> None:
    if moment == "ill":
        request.getfixturevalue("impatient")
    live = shop.live()
    old = shop.running()[0]
    with shop.app.load(slow=2) as seen:
        name = shop.upload(**MOMENTS[moment])
        if moment == "draining":
            wait_until(lambda: shop.live() != live, "the swap", 30)
        else:
            await_state(shop, "activating", "active", but=old)
        kill_agent(shop)
        result = shop.result(name)
    assert lost(seen) == NOTHING
    if moment in ("activating", "draining"):
        assert (result["status"], result["live_healthy"]) == ("deployed", True), result
        shop.is_served_by(shop.app.instance(result["release"]), result["release"])
    else:
        assert (result["status"], result["live"], result["live_healthy"]) == ("rolled-back", live, True), result
        assert shop.live() == live
        assert len(shop.running()) == 1


def test_instances_and_links_of_other_hands_are_put_right(shop: Shop) -> None:
    live = shop.live()
    older = sorted(shop.box.run("ls", f"{shop.app.site.root}/releases").out.split())[0]
    assert older != live
    with shop.app.load() as seen:
        shop.box.run("systemctl", "start", shop.app.instance(older))
        shop.box.run("systemctl", "restart", AGENT_UNIT)
        wait_until(lambda: shop.app.instance(older) not in shop.running(), "the end of what is not live", 30)
        shop.app.link(older)
        shop.box.run("systemctl", "restart", AGENT_UNIT)
        wait_until(lambda: shop.running() == [shop.app.instance(older)], "the link's release to run", 30)
    assert lost(seen) == NOTHING
    assert shop.app.is_failed() == ""


def test_another_strategy_takes_over_from_an_instance(shop: Shop, own_server: Server) -> None:
    live = shop.live()
    if shop.running() == ["shop.service"]:
        assert shop.mark("restart")["status"] == "deployed"
    shop.is_served_by(shop.app.instance(live), live)
    config = shop.box.path("/etc/dropdeploy/apps.d/shop.toml")
    with shop.app.load() as seen:
        config.write_text(config.read_text().replace('"handover"', '"restart"'))
        own_server.agent("reload")
        wait_until(lambda: shop.running() == ["shop.service"], "the plain service to take over", 30)
        config.write_text(config.read_text().replace('"restart"', '"handover"'))
        own_server.agent("reload")
        assert shop.mark("restart")["status"] == "deployed"
    assert lost(seen) == NOTHING
    shop.is_served_by(shop.app.instance(live), live)


@pytest.mark.parametrize("moment", ["the new one boots", "the old one drains"])
@pytest.mark.usefixtures("impatient")
def test_a_machine_that_goes_down_meanwhile_comes_back_with_one_release(shop: Shop, moment: str) -> None:
    live, old = shop.live(), shop.running()[0]
    is_draining = moment == "the old one drains"
    name = shop.upload(boot_s=0 if is_draining else 3600)
    if is_draining:
        wait_until(lambda: shop.live() != live, "the swap", 30)
    else:
        await_state(shop, "activating", but=old)
    shop.box.crash()
    shop.box.boot()
    # Without the agent, which nobody has enabled.
    linked = shop.live()
    assert shop.running() == ["shop.service"]
    with shop.app.load(slow=0) as seen:
        shop.box.run("sleep", "0.5")
        shop.box.run("systemctl", "start", AGENT_UNIT)
        result = shop.result(name)
    assert seen.failures == {}
    assert (linked == live) is not is_draining
    if is_draining:
        assert result["status"] == "deployed"
        shop.is_served_by(shop.app.instance(result["release"]), result["release"])
    else:
        assert (result["status"], result["live"]) == ("rolled-back", live)
        shop.is_served_by("shop.service", live)
