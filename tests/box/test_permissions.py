"""Who may do what: the polkit rule, the sshd block and the unit of packaging/, as an administrator installs them."""

from __future__ import annotations

import pytest

from tests.box.machine import Box, Completed
from tests.box.server import AGENT_UNIT, Server, Site

SLEEPER = """
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/true
"""
RELEASE = "20260123-143022"


@pytest.fixture(scope="module")
def site(server: Server) -> Site:
    """An app with a unit, a template unit, and a unit that is none of the agent's business."""
    site = server.add_app("guarded", units=["guarded.service", "guarded-trial@.service"])
    for unit in ("guarded.service", "guarded-trial@.service", "stranger.service"):
        server.add_unit(unit, SLEEPER)
    server.box.run("systemctl", "start", "guarded.service", "stranger.service")
    return site


def call(box: Box, method: str, *arguments: str, user: str = "dropdeploy") -> Completed:
    """Call systemd's manager as the agent does: without asking anybody for a password."""
    address = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
    options = ("--system", "--allow-interactive-authorization=no")
    return box.run("busctl", "call", *options, *address, method, *arguments, user=user, check=False)


def is_refused(done: Completed) -> bool:
    """polkit said no; any other failure is none of its."""
    return done.code == 1 and ("Access denied" in done.err or "authentication required" in done.err)


class TestPolkit:
    @pytest.mark.parametrize("unit", ["guarded.service", f"guarded-trial@{RELEASE}.service"])
    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("StartUnit", ("ss", "{unit}", "replace")),
            ("RestartUnit", ("ss", "{unit}", "replace")),
            ("ReloadUnit", ("ss", "{unit}", "replace")),
            ("ResetFailedUnit", ("s", "{unit}")),
            ("StopUnit", ("ss", "{unit}", "replace")),
        ],
    )
    def test_the_agent_may(self, box: Box, site: Site, unit: str, method: str, arguments: tuple[str, ...]) -> None:
        box.run("systemctl", "start", unit)
        done = call(box, method, *(each.format(unit=unit) for each in arguments))
        assert done.code == 0, done

    @pytest.mark.parametrize(
        "unit",
        [
            "stranger.service",
            "ssh.service",
            AGENT_UNIT,
            "guarded-trial@other.service",
            f"stranger@{RELEASE}.service",
        ],
    )
    @pytest.mark.parametrize("method", ["StartUnit", "StopUnit", "RestartUnit", "ReloadUnit"])
    def test_the_agent_may_not_touch_other_units(self, box: Box, site: Site, unit: str, method: str) -> None:
        assert is_refused(call(box, method, "ss", unit, "replace"))

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("KillUnit", ("ssi", "guarded.service", "all", "9")),
            ("FreezeUnit", ("s", "guarded.service")),
            ("SetUnitProperties", ("sba(sv)", "guarded.service", "true", "0")),
            ("TryRestartUnit", ("ss", "guarded.service", "replace")),
            ("ResetFailed", ()),
            ("Reload", ()),
            ("EnableUnitFiles", ("asbb", "1", "guarded.service", "false", "false")),
            ("MaskUnitFiles", ("asbb", "1", "guarded.service", "false", "false")),
            ("StartTransientUnit", ("ssa(sv)a(sa(sv))", "mine.service", "replace", "0", "0")),
        ],
    )
    def test_the_agent_may_not_do_more_than_five_things(
        self, box: Box, site: Site, method: str, arguments: tuple[str, ...]
    ) -> None:
        box.run("systemctl", "start", "guarded.service")
        assert is_refused(call(box, method, *arguments))

    @pytest.mark.parametrize("user", ["guarded", "up-guarded", "laptop"])
    def test_others_may_nothing(self, box: Box, site: Site, user: str) -> None:
        assert is_refused(call(box, "RestartUnit", "ss", "guarded.service", "replace", user=user))


class TestUploader:
    def test_is_at_the_drop_directory_at_once(self, site: Site) -> None:
        assert "Remote working directory: /guarded\n" in site.sftp("pwd").out

    def test_sees_and_writes_nothing_else(self, server: Server, site: Site) -> None:
        other = server.add_app("neighbour")
        other.sftp("put /etc/hostname secret")
        for refused in ("ls /", "ls /neighbour", "get /neighbour/secret", "put /etc/hostname /x", "mkdir /y"):
            done = site.sftp(refused, check=False)
            assert done.code == 1, done
            assert "denied" in done.err or "not found" in done.err, done

    @pytest.mark.parametrize("command", ["id", "cat /guarded/x", "sh -c id"])
    def test_runs_no_command(self, box: Box, site: Site, command: str) -> None:
        done = box.run("ssh", f"{site.uploader}@server", command, user="laptop", check=False)
        assert done.code == 1
        assert done.out == "This service allows sftp connections only.\n"

    def test_forwards_no_port(self, box: Box, site: Site) -> None:
        done = box.run("ssh", "-W", "127.0.0.1:22", f"{site.uploader}@server", user="laptop", check=False)
        assert done.code == 255
        assert "forwarding failed" in done.err
