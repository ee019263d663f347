"""Those who upload, and what the kernel, sshd and the agent let them do to each other and to the agent.

Two apps, ``left`` and ``right``; ``up-left`` and ``up-right`` upload to one each, ``ada`` to both. Who is hostile here
is more than sshd lets in: a process with the uploader's user and groups, right in the drop directory.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.box.machine import Box, wait_until
from tests.box.server import Server, Site

UNIT = """
[Service]
WorkingDirectory=/home/{app}/app
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 {port}
User={app}
"""
CONFIG = """
rate_limit = "off"
settle = "100ms"
[health]
url = "http://127.0.0.1:{port}/"
interval = "300ms"
"""
# What the agent may write and an uploader may not: bait.
BAIT = ("/home/left/shared/secret", "/srv/drop/right/secret", "/var/lib/dropdeploy/secret")
SECRET = 'token = "a-secret-of-others"\n'


@dataclass(frozen=True)
class As(Site):
    """The site, as another uploader sees it."""

    who: str = ""

    @property
    def uploader(self) -> str:
        return self.who


@dataclass(frozen=True)
class Two:
    """Both apps on one server."""

    server: Server
    left: Site
    right: Site

    @property
    def box(self) -> Box:
        return self.server.box

    def ada(self, site: Site) -> Site:
        return As(self.box, site.name, "ada")

    def pack(self, name: str, version: str, mode: int = 0o644) -> str:
        """A build on the laptop."""
        self.box.write("/home/laptop/site/version", version, owner="laptop")
        self.box.run("tar", "-czf", name, "-C", "site", ".", user="laptop")
        self.box.path(f"/home/laptop/{name}").chmod(mode)
        return name

    def answer(self, port: int) -> str:
        """What the app says now; "" while it is restarted."""
        return self.box.run("curl", "-fsS", f"http://127.0.0.1:{port}/version", check=False).out

    def has_answer(self, port: int, expected: str) -> bool:
        return self.answer(port) == expected

    def deploy(self, site: Site, version: str, *, to: str = "", mode: int = 0o644) -> dict[str, Any]:
        name = self.pack(f"{version}.tar.gz", version, mode)
        site.sftp(f"cd {to}" if to else "pwd", f"put -p {name}")
        return (self.right if to == "/right" else site).result(name)

    def hostile(self, script: str, user: str = "up-left") -> str:
        """What a process of this uploader gets done in the drop directory of ``left``; what fails is no matter."""
        return self.box.run("sh", "-c", f"cd /srv/drop/left; {script}", user=user, check=False).out


@pytest.fixture(scope="module")
def two(own_server: Server) -> Iterator[Two]:
    box = own_server.box
    sites = []
    for app, port in (("left", 3001), ("right", 3002)):
        own_server.add_unit(f"{app}.service", UNIT.format(app=app, port=port))
        sites.append(own_server.add_app(app, CONFIG.format(port=port), is_sshd_told=False))
    two = Two(own_server, *sites)
    for site in sites:
        own_server.add_uploader(site, "ada")
    box.run("systemctl", "restart", "ssh.service")
    own_server.agent("start")
    for bait in BAIT:
        box.write(bait, SECRET, mode=0o640, owner="dropdeploy")
    kept = [fingerprint(box, bait) for bait in BAIT]
    yield two
    # Whatever was tried: nobody has touched these.
    assert [fingerprint(box, bait) for bait in BAIT] == kept
    assert names(box, "/home/left/shared") == ["secret"]
    assert names(box, "/var/lib/dropdeploy") == sorted({*names(box, "/var/lib/dropdeploy")} - {"build.tar.gz"})


def fingerprint(box: Box, path: str) -> tuple[str, int, int, int, int]:
    status = box.path(path).stat()
    return box.path(path).read_text(), status.st_mode, status.st_uid, status.st_mtime_ns, status.st_nlink


def is_own(path: Path) -> bool:
    """A file that nobody has another way to."""
    return path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1


def names(box: Box, path: str) -> list[str]:
    return sorted(os.listdir(box.path(path)))


# --- who may what --------------------------------------------------------------------------------------------------


def test_what_only_its_owner_may_read_is_deployed(two: Two) -> None:
    config = two.box.path("/etc/dropdeploy/apps.d/left.toml")
    before = config.read_text()
    config.write_text(f'after = "keep"\n{before}')
    two.server.agent("reload")
    assert two.deploy(two.left, "closed", mode=0o600)["status"] == "deployed"
    kept = two.box.run("stat", "-c", "%U %a", f"{two.left.drop}/closed.tar.gz").out
    assert kept == "up-left 600\n"
    assert two.answer(3001) == "closed"
    config.write_text(before)
    two.server.agent("reload")
    two.left.sftp("rm closed.tar.gz")


def test_a_directory_that_only_its_owner_may_enter_is_deployed(two: Two) -> None:
    two.box.run("sh", "-c", "umask 077; rm -rf tree; mkdir -p tree/deep; echo tree > tree/version", user="laptop")
    two.box.run("touch", "tree.ready", user="laptop")
    two.left.sftp("put -r -p tree", "put tree.ready")
    assert two.left.result("tree")["status"] == "deployed"
    assert two.answer(3001) == "tree\n"
    assert two.box.run("stat", "-c", "%U %a", f"{two.left.drop}/tree").out == "up-left 700\n"


def test_two_uploaders_of_one_app(two: Two) -> None:
    ada = two.ada(two.left)
    assert two.deploy(two.left, "mine")["status"] == "deployed"
    assert two.deploy(ada, "hers", mode=0o600)["status"] == "deployed"
    assert two.answer(3001) == "hers"
    # Each reads the other's result, and may clear away what the other left.
    for site, other in ((ada, "mine"), (two.left, "hers")):
        site.sftp(f"get {other}.tar.gz.result.toml", f"rm {other}.tar.gz.result.toml")
    two.box.write("/home/laptop/bad.tar.gz", "no archive", owner="laptop")
    two.left.sftp("put bad.tar.gz")
    assert two.left.result("bad.tar.gz")["status"] == "rejected"
    ada.sftp("rm bad.tar.gz")


def test_one_uploader_of_two_apps(two: Two) -> None:
    ada = two.ada(two.left)
    assert "Remote working directory: /left\n" in ada.sftp("pwd").out
    assert two.deploy(ada, "to-left")["app"] == "left"
    assert two.deploy(ada, "to-right", to="/right")["app"] == "right"
    assert (two.answer(3001), two.answer(3002)) == ("to-left", "to-right")


@pytest.mark.parametrize(
    "refused",
    [
        "ls /",
        "ls /right",
        "get /right/status.toml",
        "get /right/secret",
        "put v.tar.gz /right/v.tar.gz",
        "put v.tar.gz /v.tar.gz",
        "rm /right/secret",
        "rename /right/secret secret",
        "rename v.tar.gz /right/v.tar.gz",
        "ln /right/secret stolen",
        "mkdir /right/dir",
        "chmod 777 /right",
        "chmod 777 .",
        "chown 0 status.toml",
        "chmod 666 status.toml",
    ],
)
def test_of_the_other_app_nothing_is_seen_or_touched_by_sftp(two: Two, refused: str) -> None:
    two.box.write("/home/laptop/v.tar.gz", "", owner="laptop")
    done = two.left.sftp("-put v.tar.gz .v.tar.gz", refused.replace("rename v", "rename .v"), check=False)
    assert done.code == 1, done
    assert any(word in done.err for word in ("denied", "not found", "Failure", "No such")), done


def test_nor_by_a_process_of_the_uploaders(two: Two) -> None:
    told = two.hostile(
        "for each in 'ls /srv/drop' 'ls /srv/drop/right' 'cat /srv/drop/right/secret' 'cat /home/left/shared/secret'"
        " 'ln /srv/drop/right/secret x' 'ln /var/lib/dropdeploy/secret x' 'ln /home/left/shared/secret x'"
        " 'mv /srv/drop/left /srv/drop/away' 'mkdir /srv/drop/new' 'touch /srv/drop/right/x'"
        " 'kill -9 $(systemctl show -P MainPID dropdeploy)' 'systemctl restart left' 'systemctl reload dropdeploy'; do"
        ' sh -c "$each" > /dev/null 2>&1 && echo "$each"; done'
    )
    assert told == ""


# --- what is planted in the agent's way ----------------------------------------------------------------------------

PLANTED = {
    "link": "ln -s {bait} {name}",
    "link to a directory": "ln -s /srv/drop/right {name}",
    "fifo": "mkfifo {name}",
    "hard link": "rm -f .own; echo mine > .own; ln .own {name}",
}


@pytest.mark.parametrize("plant", PLANTED)
def test_what_the_agent_writes_is_replaced_and_never_written_through(two: Two, plant: str) -> None:
    two.left.sftp("-rm build.tar.gz.result.toml")
    files = ("build.tar.gz.result.toml", "build.tar.gz.deploying", "status.toml", ".dropdeploy-0123456789abcdef.tmp")
    for name, bait in zip(files, (*BAIT, BAIT[0]), strict=True):
        two.hostile(f"rm -rf {name}; {PLANTED[plant].format(name=name, bait=bait)}")
    name = two.pack("build.tar.gz", f"after a {plant}")
    two.left.sftp(f"put {name}")
    drop = two.box.path(two.left.drop)
    wait_until(lambda: two.answer(3001) == f"after a {plant}", "the release")
    for file in files[:3:2]:
        wait_until(partial(is_own, drop / file), file)
    result = tomllib.loads((drop / files[0]).read_text())
    assert result["status"] == "deployed"
    assert "right" not in (drop / "status.toml").read_text()
    two.hostile("rm -f .own .dropdeploy-*")


def test_a_directory_in_the_place_of_the_result(two: Two) -> None:
    """It cannot be replaced; the deploy goes on all the same, and the result is written when it can be."""
    two.hostile("rm -rf build.tar.gz.result.toml status.toml; mkdir -p build.tar.gz.result.toml/x status.toml/x")
    name = two.pack("build.tar.gz", "after a directory")
    two.left.sftp(f"put {name}")
    wait_until(lambda: two.answer(3001) == "after a directory", "the release")
    two.hostile("rm -rf build.tar.gz.result.toml status.toml")
    wait_until(two.box.path(f"{two.left.drop}/build.tar.gz.result.toml").is_file, "the result", 60)


def test_links_are_no_uploads_and_no_sidecars(two: Two) -> None:
    """The agent may read what others may not: it does not for somebody who says so."""
    box = two.box
    two.pack("private.tar.gz", "private", 0o600)
    two.right.sftp("put hold", check=False)
    box.copy_in(box.path("/home/laptop/private.tar.gz"), "/home/right/shared/private.tar.gz", owner="right")
    live = two.answer(3001)
    name = two.pack("linked.tar.gz", "linked")
    two.hostile(
        "ln -s /home/right/shared/private.tar.gz stolen.tar.gz; touch stolen.tar.gz.ready;"
        " ln -s ../../../home/right/shared tree2; touch tree2.ready;"
        " ln -s /srv/drop/right/secret linked.tar.gz.meta.toml; ln -s /srv/drop/right/secret restart"
    )
    two.left.sftp(f"put {name}")
    result = two.left.result(name)
    assert "a-secret" not in str(result)
    assert two.answer(3001) in (live, "linked")
    shown = "".join(path.read_text() for path in box.path(two.left.drop).glob("*.toml") if not path.is_symlink())
    assert "a-secret" not in shown
    assert two.box.run("grep", "-rl", "private", "/home/left/releases", check=False).out == ""
    two.hostile("rm -rf stolen* tree2* linked* restart")


RACER = """
import os, sys
drop, bait = os.open("/srv/drop/left", os.O_RDONLY), sys.argv[1:]
turn = 0
print("racing", flush=True)
while True:
    for name in os.listdir(drop):
        if not name.startswith(".dropdeploy-") and not name.endswith((".deploying", ".result.toml", "status.toml")):
            continue
        turn += 1
        try:
            os.rename(name, f".taken-{turn % 4}", src_dir_fd=drop, dst_dir_fd=drop)
            target = bait[turn % len(bait)]
            os.mkfifo(name, dir_fd=drop) if turn % 5 == 0 else os.symlink(target, name, dir_fd=drop)
        except OSError:
            pass
"""


def test_who_races_with_the_agent_wins_nothing(two: Two) -> None:
    """A process that puts a link in the place of everything that the agent writes, as soon as it is there."""
    two.box.write("/srv/racer.py", RACER)
    targets = (*BAIT, "/home/left/shared", "/var/lib/dropdeploy/history.db", "/srv/drop/right/new")
    with two.box.popen("python3", "/srv/racer.py", *targets, user="up-left") as racer:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "racing\n"
        try:
            for turn in range(5):
                name = two.pack(f"race-{turn}.tar.gz", f"race {turn}")
                two.left.sftp(f"put {name}")
                wait_until(partial(two.has_answer, 3001, f"race {turn}"), f"release {turn}", 60)
        finally:
            racer.kill()
    two.hostile("find . -maxdepth 1 -name '.*' -type l -delete; rm -rf .taken-* *.result.toml *.deploying status.toml")
    assert "new" not in names(two.box, two.right.drop)
    assert two.deploy(two.left, "calm")["status"] == "deployed"
    assert two.deploy(two.right, "calm-too")["status"] == "deployed"
