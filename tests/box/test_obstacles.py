"""What stands in the way of a deploy on a real server, and what the uploader is told of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.agent.world import tar
from tests.box.machine import wait_until
from tests.box.server import AGENT_UNIT, Server, Site

GOOD = "echo serving; exec python3 -m http.server --bind 127.0.0.1 $PORT"
BAD = "echo DATABASE_URL is not set; exit 7"
SEE_LOG = "the last lines of its log, below, tell what it said before it ended"
LESS_RIGHTS = f"/run/systemd/system/{AGENT_UNIT}.d/less-rights.conf"


@pytest.fixture(scope="module")
def sites(own_server: Server) -> dict[str, Site]:
    """Apps of all kinds, and an agent that watches for them."""
    box = own_server.box
    hook, warm, trial = "hooked-migrate@.service", "hooked-warm@.service", "tried-trial@.service"
    hooks = f'[hooks]\nbefore_swap = ["{hook}"]\nafter_live = ["{warm}"]\ntimeout = "3s"'
    sites = {
        "plain": add_app(own_server, "plain"),
        "barred": add_app(own_server, "barred"),
        "tiny": add_app(own_server, "tiny"),
        "kept": add_app(own_server, "kept", "keep = 1"),
        "summed": add_app(own_server, "summed", '[accept]\nchecksum = "required"'),
        "hooked": add_app(own_server, "hooked", hooks, hook, warm),
        "tried": add_app(own_server, "tried", f'[trial]\nunit = "{trial}"\ntimeout = "5s"', trial),
    }
    own_server.add_unit(hook, unit_file("hooked", "migrate", "Type=oneshot", place="releases/%i"))
    own_server.add_unit(warm, unit_file("hooked", "warm", "Type=oneshot", place="app"))
    own_server.add_unit(trial, unit_file("tried", "run", "Environment=PORT=7999", place="releases/%i"))
    box.run("rm", "/etc/polkit-1/rules.d/50-dropdeploy-barred.rules")
    owner = box.run("stat", "-c", "uid=%u,gid=%g,mode=2750", sites["tiny"].root).out.strip()
    box.run("mount", "-t", "tmpfs", "-o", f"size=24M,{owner}", "tmpfs", sites["tiny"].root)
    box.run("systemctl", "restart", "ssh.service")
    own_server.agent("start")
    return sites


@pytest.fixture
def plain(sites: dict[str, Site]) -> Site:
    """An app that may have anything done to it."""
    return sites["plain"]


def add_app(server: Server, name: str, config: str = "", *more_units: str) -> Site:
    options = 'rate_limit = "off"\nstall = "1s"\nsettle = "200ms"\n'
    health = f'[health]\nurl = "http://127.0.0.1:{port(name)}/run"\ntimeout = "10s"\n'
    units = [f"{name}.service", *more_units]
    site = server.add_app(name, f"{options}{config}\n{health}", units, is_sshd_told=False)
    server.add_unit(site.unit, unit_file(name))
    return site


def unit_file(name: str, script: str = "run", *settings: str, place: str = "app") -> str:
    """A unit that runs a script of the release."""
    start = f"ExecStart=/bin/sh {script}"
    lines = [f"User={name}", f"WorkingDirectory=/home/{name}/{place}", f"Environment=PORT={port(name)}", start]
    return "\n".join([f"[Unit]\nDescription=the app {name}\n[Service]", *lines, *settings, ""])


def port(name: str) -> int:
    """Each app has its own."""
    return 8000 + sum(name.encode())


def upload(site: Site, name: str, script: str = GOOD, mode: int = 0o644, **files: str) -> dict[str, Any]:
    """Upload a build whose script ``run`` is this, and wait for its result."""
    path = site.box.path(f"/home/laptop/{name}.tar.gz")
    path.write_bytes(tar({"run": script, **files}))
    path.chmod(mode)
    site.box.run("chown", "laptop", f"/home/laptop/{name}.tar.gz")
    # The leading "-": there may be none. What is there would be read before the agent has seen the new bytes.
    site.sftp(f"-rm {name}.tar.gz.result.toml", f"put -p {name}.tar.gz")
    return result(site, f"{name}.tar.gz")


def result(site: Site, name: str) -> dict[str, Any]:
    found = site.result(name, 30)
    wait_until(lambda: not site.box.path(f"{site.drop}/{name}.deploying").exists(), f"the end of {name}")
    return found


def live(site: Site) -> str:
    link = site.box.path(f"{site.root}/app")
    return os.readlink(link).removeprefix("releases/") if link.is_symlink() else ""


def good(site: Site) -> str:
    """A good release is live and runs; returns its id."""
    release = live(site)
    if release and site.box.unit(site.unit, "ActiveState") == {"ActiveState": "active"}:
        return release
    made: str = upload(site, "good")["release"]
    return made


def told(found: dict[str, Any]) -> tuple[str, str, str]:
    """Status, error code and step."""
    return found["status"], found["error"]["code"], found["error"]["step"]


@contextmanager
def other_unit(server: Server, site: Site, text: str | None) -> Iterator[None]:
    """The app's unit is another one for a while; None: it is gone."""
    if text is None:
        server.box.run("sh", "-c", f"rm /etc/systemd/system/{site.unit}; systemctl daemon-reload")
    else:
        server.add_unit(site.unit, text)
    try:
        yield
    finally:
        server.box.run("rm", "-f", f"/etc/systemd/system/{site.unit}")
        server.add_unit(site.unit, unit_file(site.name))


# --- before anything is touched ------------------------------------------------------------------------------------


def test_the_unit_is_masked_gone_or_wrong(own_server: Server, plain: Site) -> None:
    release = good(plain)
    before = own_server.box.unit(plain.unit, "MainPID", "InvocationID")

    with other_unit(own_server, plain, None):
        own_server.box.run("sh", "-c", f"ln -s /dev/null /etc/systemd/system/{plain.unit}; systemctl daemon-reload")
        masked = upload(plain, "masked")
    assert told(masked) == ("rejected", "unit-masked", "preflight")
    assert masked["error"]["message"] == "the unit plain.service is masked"
    assert masked["error"]["hint"] == "the administrator must run `systemctl unmask plain.service`"
    assert masked["summary"] == "masked.tar.gz was not deployed, nothing was touched"

    with other_unit(own_server, plain, None):
        gone = upload(plain, "gone")
    assert told(gone) == ("rejected", "unit-not-found", "preflight")
    assert gone["error"]["message"] == "the unit plain.service does not exist on the server"
    assert gone["error"]["hint"] == "the administrator must install it, or correct `unit` in plain.toml"

    with other_unit(own_server, plain, "[Service]\nExecStart=no/full/path\n"):
        wrong = upload(plain, "wrong")
    assert told(wrong) == ("rejected", "restart-failed", "preflight")
    assert "cannot be loaded by systemd (bad-setting)" in wrong["error"]["message"]
    assert "`systemd-analyze verify plain.service`" in wrong["error"]["hint"]

    for rejected in (masked, gone, wrong):
        assert (rejected["live"], rejected["live_healthy"]) == (release, True)
    assert own_server.box.unit(plain.unit, "MainPID", "InvocationID") == before


def test_no_space(sites: dict[str, Site]) -> None:
    tiny = sites["tiny"]
    # gzip tells how large it will be, xz does not.
    known = upload(tiny, "known", big=os.urandom(5_000_000).hex())
    assert told(known) == ("rejected", "no-space", "preflight")
    assert "and 24 MiB are free" in known["error"]["message"]
    assert known["error"]["hint"] == "make room on the server, or lower `keep` in tiny.toml"
    tiny.box.path("/home/laptop/unknown.tar.xz").write_bytes(tar({"run": GOOD, "big": "x" * 40_000_000}, "xz"))
    tiny.sftp("put unknown.tar.xz")
    unknown = result(tiny, "unknown.tar.xz")
    assert told(unknown) == ("rejected", "no-space", "extract")
    assert unknown["error"]["message"].startswith("no space is left for entry 'big'")
    assert os.listdir(tiny.box.path(f"{tiny.root}/releases")) == []
    assert upload(tiny, "small")["status"] == "deployed"


def test_an_upload_that_the_agent_may_not_read_and_a_journal(own_server: Server, plain: Site) -> None:
    """An agent without the capabilities and the group that its unit gives it."""
    own_server.box.write(LESS_RIGHTS, "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\nSupplementaryGroups=\n")
    own_server.box.run("systemctl", "daemon-reload")
    own_server.agent("restart")
    try:
        private = upload(plain, "private", mode=0o600)
        assert told(private) == ("rejected", "unreadable-upload", "preflight")
        assert private["error"]["message"] == "private.tar.gz cannot be opened: Permission denied"
        assert "upload with mode 0644, or give the agent CAP_DAC_READ_SEARCH" in private["error"]["hint"]
        assert upload(plain, "public")["status"] == "deployed"  # no lease can be had: it has settled
        ill = upload(plain, "ill", BAD)
        assert told(ill) == ("rolled-back", "unit-crashed", "health")
        assert ill["error"]["log"] == (
            "[the journal of plain.service may not be read by the agent: add its user to the group systemd-journal]"
        )
    finally:
        own_server.box.run("sh", "-c", f"rm {LESS_RIGHTS}; systemctl daemon-reload")
        own_server.agent("restart")
    assert upload(plain, "private", mode=0o600)["status"] == "deployed"


def test_a_checksum_that_does_not_come(sites: dict[str, Site]) -> None:
    summed = sites["summed"]
    waiting = upload(summed, "v1")
    assert told(waiting) == ("incomplete", "checksum-missing", "preflight")
    assert waiting["error"]["message"] == "v1.tar.gz is here, but v1.tar.gz.sha256 is not"
    assert "`sha256sum v1.tar.gz > v1.tar.gz.sha256`" in waiting["error"]["hint"]
    summed.box.run("sh", "-c", "sha256sum v1.tar.gz > v1.tar.gz.sha256", user="laptop")
    summed.sftp("rm v1.tar.gz.result.toml", "put v1.tar.gz.sha256")
    assert result(summed, "v1.tar.gz")["status"] == "deployed"


def test_a_directory_that_is_still_written_to(plain: Site) -> None:
    plain.box.run("mkdir", "site", user="laptop")
    plain.box.path("/home/laptop/site/run").write_text(GOOD)
    plain.box.path("/home/laptop/site/large.log").write_bytes(bytes(20_000_000))
    plain.box.run("touch", "site.ready", user="laptop")
    plain.sftp("put -r site")
    writer = f"while :; do echo more >> {plain.drop}/site/large.log; done"
    with plain.box.popen("sh", "-c", writer) as writing:
        plain.sftp("put site.ready")
        changing = result(plain, "site")
        writing.kill()
    assert told(changing) == ("rejected", "changed-while-reading", "extract")
    assert changing["error"]["message"] == "'large.log' changed while it was copied"
    assert changing["error"]["hint"] == "make the .ready file only when all is uploaded"
    plain.sftp("rm site.result.toml", "put site.ready")
    assert result(plain, "site")["status"] == "deployed"


# --- where the agent may not write ---------------------------------------------------------------------------------


def test_directories_that_are_not_the_agents(plain: Site) -> None:
    release = good(plain)
    plain.box.run("chown", "root", f"{plain.root}/releases")
    staging = upload(plain, "staging")
    assert told(staging) == ("rejected", "not-authorised", "extract")
    assert "the agent's user (dropdeploy) needs to own /home/plain" in staging["error"]["hint"]
    plain.box.run("chown", "dropdeploy", f"{plain.root}/releases")

    plain.box.run("chown", "root", plain.root)
    link = upload(plain, "link")
    assert told(link) == ("failed", "not-authorised", "swap")
    assert link["error"]["message"] == f"could not swap to release {link['release']}: Permission denied"
    assert (link["live"], link["live_healthy"]) == (release, True)
    assert link["summary"] == f"{link['release']} failed during swap, {release} is live as before"
    plain.box.run("chown", "dropdeploy", plain.root)


def test_a_file_where_releases_belong(plain: Site) -> None:
    releases, aside = f"{plain.root}/releases", f"{plain.root}/aside"
    plain.box.run("sh", "-c", f"mv {releases} {aside}; touch {releases}")
    strange = upload(plain, "strange")
    plain.box.run("sh", "-c", f"rm {releases}; mv {aside} {releases}")
    assert told(strange) == ("rejected", "internal", "extract")
    assert strange["error"]["message"] == "could not make a staging directory: Not a directory"
    assert strange["error"]["hint"] == "look at /home/plain and at the agent's journal"


def test_what_an_app_wrote_into_its_release_cannot_be_pruned(sites: dict[str, Site]) -> None:
    kept = sites["kept"]
    first = upload(kept, "v1")["release"]
    kept.box.run("install", "-d", "-o", "kept", f"{kept.root}/app/cache")
    kept.box.run("touch", f"{kept.root}/app/cache/file", user="kept")
    upload(kept, "v2")
    third = upload(kept, "v3")
    assert (third["status"], third["steps"][-1]["detail"]) == ("deployed", f"removed {first}")
    fourth = upload(kept, "v4")
    assert fourth["status"] == "deployed"
    assert (fourth["steps"][-1]["name"], fourth["steps"][-1]["status"]) == ("prune", "failed")
    assert fourth["steps"][-1]["detail"] == (
        f"not everything could be pruned: could not remove {kept.root}/releases/.pruned-{first}: Permission denied"
    )


# --- hooks and trials ----------------------------------------------------------------------------------------------


def test_hooks(sites: dict[str, Site]) -> None:
    hooked = sites["hooked"]
    failed = upload(hooked, "v1", migrate="echo no such column; exit 1")
    assert told(failed) == ("failed", "hook-failed", "hooks")
    instance = f"hooked-migrate@{failed['release']}.service"
    assert failed["error"]["message"] == (
        f"a hook failed: the start job of {instance} failed; it is failed (result exit-code, exit status 1)"
    )
    assert failed["error"]["log"].startswith("no such column\n") or "\nno such column\n" in failed["error"]["log"]
    endless = upload(hooked, "v2", migrate="echo migrating; exec sleep infinity")
    assert told(endless) == ("failed", "hook-failed", "hooks")
    assert endless["error"]["message"].endswith(".service did not finish within 3 s")
    assert "migrating" in endless["error"]["log"]
    assert live(hooked) == ""
    fine = upload(hooked, "v3", migrate="echo fine", warm="echo warm > ../../shared/warm; echo cannot warm up; exit 2")
    assert fine["status"] == "deployed"
    steps = [(step["name"], step["status"]) for step in fine["steps"]]
    assert [step for step in steps if step[0] in ("hooks", "health")] == [
        ("hooks", "ok"),
        ("health", "ok"),
        ("hooks", "failed"),
    ]
    told_of = fine["steps"][-2]["detail"]
    assert f"a hook failed: the start job of hooked-warm@{fine['release']}.service failed" in told_of
    assert "cannot warm up" in told_of
    assert hooked.box.path(f"{hooked.root}/shared/warm").read_text() == "warm\n"


def test_a_hook_of_a_cancelled_deploy_is_stopped(sites: dict[str, Site]) -> None:
    hooked = sites["hooked"]
    before = live(hooked)
    hooked.box.path("/home/laptop/v4.tar.gz").write_bytes(tar({"run": GOOD, "migrate": "exec sleep infinity"}))
    hooked.box.write("/home/laptop/cancel", "")
    hooked.sftp("put v4.tar.gz")
    step = hooked.box.path(f"{hooked.drop}/v4.tar.gz.deploying")
    wait_until(lambda: step.exists() and 'step = "hooks"' in step.read_text(), "the hook")
    hooked.sftp("put cancel")
    cancelled = result(hooked, "v4.tar.gz")
    assert (cancelled["status"], cancelled["live"]) == ("cancelled", before)
    states = hooked.box.run("systemctl", "list-units", "--plain", "--no-legend", "--state=activating", "hooked-*").out
    assert states == ""


def test_trials(sites: dict[str, Site]) -> None:
    tried = sites["tried"]
    first = upload(tried, "v1")
    assert first["status"] == "deployed", first
    before = tried.box.unit(tried.unit, "InvocationID")
    failed = upload(tried, "v2", BAD)
    assert told(failed) == ("failed", "trial-failed", "trial")
    assert f"on trial, tried-trial@{failed['release']}.service exited with status 7" in failed["error"]["message"]
    assert failed["error"]["hint"] == "the live release was not touched; look at the log below"
    assert "DATABASE_URL is not set" in failed["error"]["log"]
    assert (failed["live"], live(tried)) == (first["release"], first["release"])
    assert tried.box.unit(tried.unit, "InvocationID") == before


# --- when it goes live ---------------------------------------------------------------------------------------------


def test_without_the_polkit_rule(sites: dict[str, Site]) -> None:
    barred = sites["barred"]
    refused = upload(barred, "v1")
    assert told(refused) == ("failed", "not-authorised", "restart")
    assert refused["error"]["message"] == (
        "the agent (user dropdeploy) may not restart barred.service: Interactive authentication required"
    )
    assert refused["error"]["hint"] == (
        "a polkit rule must allow the action org.freedesktop.systemd1.manage-units "
        'for user "dropdeploy", unit "barred.service" and verb "restart"'
    )
    assert "live" not in refused
    assert live(barred) == ""


def test_a_first_release_that_is_ill_is_taken_off(own_server: Server, sites: dict[str, Site]) -> None:
    barred = sites["barred"]
    rule = own_server.box.path("/etc/polkit-1/rules.d/50-dropdeploy-plain.rules").read_text()
    own_server.box.write("/etc/polkit-1/rules.d/50-dropdeploy-barred.rules", rule.replace("plain", "barred"))
    refused = {"error": {"code": "not-authorised"}}
    ill: dict[str, Any] = refused
    while ill["error"]["code"] == "not-authorised":  # polkitd takes the rule in when it notices the file
        ill = upload(barred, "ill", BAD)
    assert told(ill) == ("failed", "unit-crashed", "health")
    assert ill["error"]["message"].startswith("barred.service exited with status 7 (result exit-code)")
    assert ill["summary"] == f"{ill['release']} failed during health, nothing is live"
    assert live(barred) == ""
    assert own_server.box.unit(barred.unit, "MainPID") == {"MainPID": "0"}


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        (["ExecStartPre=/bin/sh -c 'echo no disk; exit 3'"], "it is failed (result exit-code)", SEE_LOG),
        (
            ["ExecStart=", "ExecStart=/home/plain/app/server", "Type=exec"],
            "exit status 203/EXEC",
            "the program that the unit's ExecStart= names could not be run: is it in the release, and executable?",
        ),
    ],
)
def test_neither_the_new_release_nor_the_old_one_starts(
    own_server: Server, plain: Site, settings: list[str], message: str, hint: str
) -> None:
    release = good(plain)
    with other_unit(own_server, plain, unit_file("plain", "run", *settings)):
        stuck = upload(plain, "stuck")
    assert told(stuck) == ("failed", "rollback-failed", "restart")
    assert message in stuck["error"]["message"]
    assert f"and the way back to {release} failed too: the restart job of" in stuck["error"]["message"]
    assert stuck["error"]["hint"] == hint
    assert (stuck["live"], stuck["live_healthy"]) == (release, False)
    assert stuck["summary"] == f"{stuck['release']} failed during restart, {release} is live and ill"


def test_the_release_to_go_back_to_was_tampered_with(plain: Site) -> None:
    release = good(plain)
    plain.box.run("rm", f"{plain.root}/app/run")
    bad = upload(plain, "bad", BAD)
    assert told(bad) == ("failed", "rollback-failed", "health")
    assert (bad["live"], bad["live_healthy"]) == (release, False)
    log = bad["error"]["log"]
    assert log.index("DATABASE_URL is not set") < log.index("cannot open run")
