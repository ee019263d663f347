"""README's "Install on a server", executed as it stands on a fresh Debian 12 and a fresh Debian 13; and what becomes of
it with an upgrade, a removal and a purge."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.box.machine import Box, Completed, wait_until
from tests.box.package import build_deb, told_commands
from tests.box.recipes import fresh

SERVER_JS = """
const { createServer } = require("node:http");
const server = createServer((request, response) => response.end("VERSION"));
setTimeout(() => server.listen(process.env.PORT), BOOT_MS);
"""
CHOWN = "`chown dropdeploy:chat /home/chat && chmod 2750 /home/chat`"
MOVE_AWAY = "move it away and run this again, or make it say what --dry-run shows without it"
APT = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Fresh:
    """A server of its administrator's and a laptop of Ada's, on one machine that calls itself ``server`` too."""

    box: Box

    @classmethod
    def boot(cls, box: Box) -> Fresh:
        """Nothing of dropdeploy is there, not even its sources."""
        box.run("rm", "-rf", "/src")
        box.run("useradd", "--create-home", "ada")
        box.run("sh", "-c", "echo 127.0.0.1 server >> /etc/hosts")
        box.run("sh", "-c", "mkdir .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519", user="ada")
        box.write("/home/ada/.ssh/config", "StrictHostKeyChecking accept-new\nLogLevel ERROR\n", owner="ada")
        box.run("cp", "/home/ada/.ssh/id_ed25519.pub", "/root/ada.pub")
        return cls(box)

    def tell(self, *lines: str, user: str = "root") -> list[Completed]:
        """Commands as a person enters them, who says yes when asked."""
        return [self.box.run("sh", "-c", line, user=user, stdin="y\n", timeout_s=180, env=APT) for line in lines]

    def pack(self, version: str, boot_ms: int = 0) -> None:
        """A build, on Ada's laptop."""
        text = SERVER_JS.replace("VERSION", version).replace("BOOT_MS", str(boot_ms))
        self.box.write("/home/ada/build/server.js", text, owner="ada")
        self.tell("tar -czf build.tar.gz -C build .", user="ada")

    def result(self, timeout_s: float = 60) -> dict[str, Any]:
        """What has become of the build."""
        path = self.box.path("/srv/drop/myapp/build.tar.gz.result.toml")
        wait_until(path.exists, "a result", timeout_s)
        return tomllib.loads(path.read_text())

    def deploy(self, version: str) -> dict[str, Any]:
        """Upload a build and wait for its result."""
        self.box.path("/srv/drop/myapp/build.tar.gz.result.toml").unlink(missing_ok=True)
        self.pack(version)
        self.tell("scp build.tar.gz up-myapp@server:", user="ada")
        return self.result()

    def answer(self) -> str:
        """What the app says."""
        return self.box.run("curl", "-sS", "http://127.0.0.1:3000/").out


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def server(request: pytest.FixtureRequest, new_box: Callable[..., Box]) -> Fresh:
    """One server that all tests of this module use, in their order."""
    return Fresh.boot(new_box(fresh(request.param)))


@pytest.fixture(scope="module")
def newer(bookworm_workshop: Box, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the next version."""
    return build_deb(bookworm_workshop, tmp_path_factory.mktemp("newer"), version="0.9.9")


def test_a_deploy_works_right_after_what_readme_tells(server: Fresh, package: Path) -> None:
    root, ada, *_ = told_commands("Install on a server")
    assert f"./{package.name}" in root[0], "README names another version"
    server.box.copy_in(package, f"/root/{package.name}")
    server.tell(*root)
    server.pack("v1")
    send, fetch = ada
    server.tell(send, user="ada")
    server.result()  # README lets Ada read it when it is there
    server.tell(fetch, user="ada")
    result = tomllib.loads(server.box.path("/home/ada/build.tar.gz.result.toml").read_text())
    assert (result["status"], result["live_healthy"]) == ("deployed", True), result
    assert server.answer() == "v1"


def test_nothing_is_left_to_be_mended_or_done(server: Fresh) -> None:
    """check, as root and as the agent's user."""
    for user in ("root", "dropdeploy"):
        checked = server.box.run("dropdeploy", "check", user=user, check=False)
        assert (checked.code, re.findall(r"^(?:warn|FAIL).*", checked.out, re.MULTILINE)) == (0, []), checked
    (again,) = server.tell("dropdeploy init myapp --units node --port 3000 --key ada.pub")
    assert again.out.startswith("nothing to do"), again
    server.tell(
        "echo '# mine' >> /etc/systemd/system/myapp.service",
        "sed -i '1i keep = 9' /etc/dropdeploy/apps.d/myapp.toml",
    )
    for command in ("dropdeploy init myapp", "dropdeploy init myapp --units node --port 3000"):
        assert server.tell(command)[0].out.startswith("nothing to do")
    assert server.box.run("systemctl", "--failed", "--quiet").out == ""


def test_another_app_and_another_uploader_and_both_taken_back(server: Fresh) -> None:
    def present() -> str:
        return server.box.run(
            "sh", "-c", "find /etc /home /srv -not -path '*/ada/*' | sort; getent passwd; getent group"
        ).out

    # The files in which accounts are kept have copies of before.
    server.tell("useradd --system once && userdel once")
    build = server.box.path("/srv/drop/myapp/build.tar.gz")
    wait_until(lambda: not build.exists(), "the build of before to be cleared away")
    before = present()
    server.tell(
        "dropdeploy init shop --units python --port 3001 --root /srv/apps/shop --key ada.pub",
        "dropdeploy init shop --uploader bob --key ada.pub",
    )
    assert server.box.run("id", "-nG", "bob").out.split() == ["bob", "drop-shop"]
    listed = server.box.run("sftp", "-b", "-", "bob@server", user="ada", stdin="pwd\n").out
    assert "Remote working directory: /shop\n" in listed
    server.tell("dropdeploy init shop --undo")
    # The agent, which was started anew, writes its files beside those of before.
    with suppress(TimeoutError):
        wait_until(lambda: present() == before, "nothing of it to be there")
    assert present() == before
    status = "dropdeploy.service", "StatusText"
    wait_until(lambda: server.box.unit(*status)["StatusText"].startswith("watching 1 app"), "one app to be watched")


def test_what_is_the_administrators_is_never_written_over(server: Fresh) -> None:
    rule = "/etc/polkit-1/rules.d/50-dropdeploy-chat.rules"
    server.box.write(rule, "// mine\n")
    server.box.run("install", "-d", "-o", "ada", "/home/chat")
    refused = server.box.run("dropdeploy", "init", "chat", "--port", "3002", "--units", "program", check=False)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        f"/home/chat belongs to ada:root and has mode 0755: {CHOWN}, or choose another directory",
        f"{rule} is there and says something else: {MOVE_AWAY}",
        "nothing was changed",
    ]
    assert server.box.path(rule).read_text() == "// mine\n"
    assert not server.box.path("/etc/dropdeploy/init/chat.json").exists()


def test_what_sshd_does_not_take_is_taken_back(server: Fresh) -> None:
    server.tell("sed -i.kept '/^Include/d' /etc/ssh/sshd_config")
    refused = server.box.run("dropdeploy", "init", "news", "--port", "3003", "--units", check=False)
    server.tell("mv /etc/ssh/sshd_config.kept /etc/ssh/sshd_config")
    assert refused.code == 3
    assert 'needs the line "Include /etc/ssh/sshd_config.d/*.conf" at its top' in refused.err
    assert not server.box.path("/etc/ssh/sshd_config.d/dropdeploy-up-news.conf").exists()
    server.tell("dropdeploy init news --undo")
    assert "up-news" not in server.box.run("getent", "passwd").out


def test_an_upgrade_finishes_the_deploy_that_is_going_on(server: Fresh, newer: Path) -> None:
    box = server.box
    before = box.path("/srv/drop/myapp/build.tar.gz.result.toml")
    before.unlink()
    server.pack("v2", boot_ms=4000)
    server.tell("scp build.tar.gz up-myapp@server:", user="ada")
    deploying = box.path("/srv/drop/myapp/build.tar.gz.deploying")
    wait_until(lambda: deploying.exists() and 'step = "restart"' in deploying.read_text(), "the restart of v2")
    box.copy_in(newer, f"/root/{newer.name}")
    server.tell(f"apt install ./{newer.name}")
    assert box.run("dropdeploy", "--version").out == "dropdeploy 0.9.9\n"
    result = server.result()
    assert (result["status"], result["id"]) == ("deployed", 2), result
    assert server.answer() == "v2"
    third = server.deploy("v3")
    assert (third["status"], third["id"], third["previous"]) == ("deployed", 3, result["release"])


def test_a_removal_leaves_the_app_its_configuration_and_the_history(server: Fresh, newer: Path) -> None:
    box = server.box
    server.tell("apt remove dropdeploy")
    assert server.answer() == "v3"
    assert not box.path("/usr/bin/dropdeploy").exists()
    assert box.path("/etc/dropdeploy/apps.d/myapp.toml").exists()
    assert box.path("/var/lib/dropdeploy/history.db").exists()
    server.tell(f"apt install ./{newer.name}")
    assert server.deploy("v4")["id"] == 4


def test_a_purge_leaves_the_apps_and_nothing_of_the_agents(server: Fresh) -> None:
    box = server.box
    server.tell("apt purge dropdeploy")
    for gone in (
        "/etc/dropdeploy",
        "/var/lib/dropdeploy",
        "/usr/share/dropdeploy",
        "/usr/lib/python3/dist-packages/dropdeploy",
    ):
        assert not box.path(gone).exists(), gone
    assert "dropdeploy.service" not in box.run("systemctl", "list-unit-files").out
    assert box.path("/home/myapp/app/server.js").parent.parent.name == "myapp"
    assert len(list(box.path("/home/myapp/releases").iterdir())) == 4
    assert box.path("/srv/drop/myapp/status.toml").exists()
    assert server.answer() == "v4"
