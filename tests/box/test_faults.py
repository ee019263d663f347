"""What happens to the machine in the middle of a deploy, and what the uploader reads of it."""

from __future__ import annotations

import pytest

from tests.box.machine import wait_until
from tests.box.server import AGENT_UNIT, Server
from tests.box.uploading import Shop, open_shop


@pytest.fixture(scope="module")
def shop(own_server: Server) -> Shop:
    """An app that boots with the machine, and so does the agent."""
    shop = open_shop(own_server, "flask", "shop", 'rate_limit = "off"\n')
    own_server.box.run("systemctl", "enable", "--quiet", "--now", AGENT_UNIT)
    return shop


def begin(shop: Shop, version: str) -> str:
    """Upload a build that boots slowly, and wait until that is waited for."""
    name = shop.upload(version, boot_s=1)
    wait_until(lambda: shop.deploying(name).get("step") in ("restart", "health"), f"{name} to boot")
    return name


IN_THE_MIDDLE = {
    "the bus is restarted": ("systemctl", "restart", "dbus.service"),
    "the bus is killed": ("systemctl", "kill", "--signal=KILL", "dbus.service"),
    "systemd is reloaded": ("systemctl", "daemon-reload"),
    "systemd is executed anew": ("systemctl", "daemon-reexec"),
    "polkit is stopped": ("systemctl", "stop", "polkit.service"),
    "somebody else restarts the app": ("systemctl", "restart", "shop.service"),
}


@pytest.mark.parametrize("command", IN_THE_MIDDLE.values(), ids=IN_THE_MIDDLE)
def test_no_fault_of_the_release(shop: Shop, command: tuple[str, ...]) -> None:
    shop.good()
    name = begin(shop, "disturbed")
    shop.box.run(*command)
    found = shop.result(name, 60)
    assert (found["status"], found["live"]) == ("deployed", found["release"]), found
    assert shop.ask()["cwd"].endswith(found["release"])


def test_polkit_is_absent(shop: Shop) -> None:
    good = shop.good()
    shop.box.run("systemctl", "mask", "--runtime", "--now", "polkit.service")
    try:
        refused = shop.deploy("refused")
    finally:
        shop.box.run("systemctl", "unmask", "--runtime", "polkit.service")
    assert (refused["status"], refused["error"]["code"]) == ("failed", "not-authorised")
    assert refused["error"]["message"].startswith("the agent (user dropdeploy) may not ")
    assert "polkit" in refused["error"]["hint"]
    assert refused["live"] == good
    assert shop.ask()["cwd"].endswith(good)
    assert shop.deploy("allowed")["status"] == "deployed"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("mv {unit} /root/aside", "shop.service does not exist"),
        ("mv {unit} /root/aside; ln -s /dev/null {unit}", "shop.service is masked"),
    ],
    ids=["removed", "masked"],
)
def test_the_unit_goes_in_the_middle(shop: Shop, harm: str, said: str) -> None:
    """It may still be restarted, or not any more, and then that is said; afterwards nothing is tried."""
    shop.good()
    unit = "/etc/systemd/system/shop.service"
    name = begin(shop, "caught")
    shop.box.run("sh", "-c", harm.format(unit=unit) + "; systemctl daemon-reload")
    try:
        found = shop.result(name)
        assert found["status"] == "deployed" or said in found["error"]["message"], found
        rejected = shop.deploy("next")
        assert (rejected["status"], rejected["error"]["step"]) == ("rejected", "preflight")
        assert said in rejected["error"]["message"]
        assert rejected["live"] == found["live"]
    finally:
        shop.box.run("sh", "-c", f"rm -f {unit}; mv /root/aside {unit}; systemctl daemon-reload")
    shop.site.sftp("rm next.tar.gz.result.toml")
    shop.mark("next.tar.gz.ready")
    assert shop.result("next.tar.gz")["status"] == "deployed"
    assert shop.ask()["version"] == "next"


def test_the_app_is_killed_as_when_memory_is_short(shop: Shop) -> None:
    good = shop.live()
    name = begin(shop, "hungry")
    result = shop.path(f"{shop.site.drop}/{name}.result.toml")

    def is_told() -> bool:
        if shop.live() != good:
            shop.box.run("systemctl", "kill", "--signal=KILL", "shop.service", check=False)
        return result.exists()

    wait_until(is_told, "a verdict", 60)
    found = shop.result(name)
    assert (found["status"], f"releases/{found['live']}") == ("rolled-back", good)
    assert found["error"]["code"] in ("unit-crashed", "restart-failed")
    assert "signal KILL" in found["error"]["message"]
    assert shop.ask()["cwd"].endswith(found["live"])


@pytest.mark.parametrize("is_enabled", [True, False], ids=["boots with the machine", "does not"])
def test_the_machine_is_shut_down_while_the_app_boots(shop: Shop, is_enabled: bool) -> None:
    """The app is stopped then, which is no fault of the release: it is judged after the boot."""
    shop.box.run("systemctl", "enable" if is_enabled else "disable", "--quiet", "shop.service")
    name = begin(shop, "on" if is_enabled else "off")
    shop.box.reboot()
    found = shop.result(name, 60)
    assert (found["status"], found["live"]) == ("deployed", found["release"]), found
    assert shop.ask()["cwd"].endswith(found["release"])
