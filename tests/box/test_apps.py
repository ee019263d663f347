"""Real frameworks under the units of contrib/apps, handed over by systemctl as the agent does it, under load."""

from __future__ import annotations

import pytest

from tests.box.activated import KINDS, Activated, open_activated, use_node
from tests.box.builds import node
from tests.box.machine import REPOSITORY
from tests.box.server import Server

WAYS = ("h2", "h2 slow", "keep-alive", "upgraded")
SELF_SIGNED = REPOSITORY / "tests/unit/self-signed.pem"
RELEASES = ("20260101-000001", "20260101-000002", "20260101-000003")
PORTS = {app: 4000 + number for number, app in enumerate(KINDS)}


def open_app(server: Server, app: str, name: str, port: int) -> Activated:
    activated = open_activated(server, app, name, port)
    for release in RELEASES:
        activated.put(release, slow_s=0.7)
    activated.link(RELEASES[0])
    return activated


def hand_over_under_load(activated: Activated) -> None:
    """From the plain service to an instance, and on to the next: every request is answered, also the slow ones."""
    _, second, third = RELEASES
    box = activated.box
    plain = activated.site.unit
    box.run("systemctl", "start", plain)
    has_slow = activated.site.name not in ("python", "program")
    with activated.load(slow=int(has_slow)) as seen:
        activated.hand_over(plain, second)
        activated.hand_over(activated.instance(second), third)
    details = [line for summary in seen.values() for line in summary["details"]]
    assert (seen.failures, details) == ({}, [])
    assert seen.releases == set(RELEASES)
    assert seen["new"]["requests"] > 20
    assert seen["keep-alive"]["requests"] > 20
    assert activated.is_failed() == ""
    assert box.unit(plain, "ActiveState")["ActiveState"] == "inactive"


@pytest.mark.parametrize("app", [app for app in KINDS if app != "wires"])
def test_a_handover_loses_no_request(own_server: Server, app: str) -> None:
    activated = open_app(own_server, app, app, PORTS[app])
    hand_over_under_load(activated)
    the_trial_answers_the_agent_only(activated)


@pytest.mark.parametrize("major", [20, 22])
def test_newer_versions_of_node(own_server: Server, major: int) -> None:
    activated = open_app(own_server, "express", f"node{major}", 4100 + major)
    use_node(activated, node(major))
    hand_over_under_load(activated)
    log = activated.box.run("sh", "-c", f"/opt/node{major}/node --version").out
    assert log.startswith(f"v{major}.")


def the_trial_answers_the_agent_only(activated: Activated) -> None:
    box, name = activated.box, activated.site.name
    trial = activated.trial(RELEASES[1])
    box.run("systemctl", "start", trial)
    ask = ("curl", "-fsS", "--max-time", "5", "--unix-socket", f"/run/{name}-trial.sock", "http://localhost/health")
    assert box.run(*ask, user="dropdeploy").out
    assert box.run(*ask, user=name, check=False).code == 7
    box.run("systemctl", "stop", trial)
    assert activated.is_failed() == ""


def test_tls_http_2_and_upgraded_connections_are_drained_too(own_server: Server) -> None:
    activated = open_activated(own_server, "wires", "wires", 4200, idle_grace_s=1)
    activated.box.copy_in(SELF_SIGNED, f"{activated.checkout.place}/self-signed.pem")
    for release in RELEASES:
        activated.put(release)
    first, second, third = RELEASES
    activated.link(first)
    activated.box.run("systemctl", "start", activated.site.unit)
    client = activated.box.popen("node", f"{activated.checkout.place}/client.js", "https://127.0.0.1:4200")
    told: list[str] = []

    def await_all_ways(release: str) -> None:
        """Each way has had an answer of this release."""
        assert client.stdout is not None
        while not {f"{way}: {release}" for way in WAYS} <= set(told):
            line = client.stdout.readline().rstrip()
            assert line, told
            assert "failed" not in line
            told.append(line)

    await_all_ways(first)
    activated.hand_over(activated.site.unit, second)
    await_all_ways(second)
    activated.hand_over(activated.instance(second), third)
    await_all_ways(third)
    out, err = client.communicate()
    assert (out, err) == ("", "")
    assert activated.is_failed() == ""
