"""contrib/upload: what people and CI systems upload with who have sftp and nothing else, against a real sshd."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.box.machine import REPOSITORY, Box, Completed, wait_until
from tests.box.package import told_commands
from tests.box.server import Server, Site

UPLOAD = "/src/contrib/upload"
README = "contrib/upload/README.md"
HOME = "/home/laptop"
SIGNERS = "/etc/dropdeploy/allowed_signers"
UNIT = """
[Service]
User={name}
WorkingDirectory={root}/app
ExecStart=/bin/sh start
"""
CONFIG = """
rate_limit = "off"
settle = "300ms"
{accept}
[health]
url = "http://127.0.0.1:{port}/version"
timeout = "60s"
"""
SERVES = "exec python3 -m http.server --bind 127.0.0.1 {port}\n"
WAITS = "until [ -e /run/go ]; do sleep 0.1; done; " + SERVES
CRASHES = "echo 'cannot go on: \"DATABASE_URL\" is not set'; printf '%s\\n' 'C:\\new'; exit 1\n"
SEALED = '[accept]\nchecksum = "required"\nsignature = "required"'
ODD_NAME = """-it's "so" \\n $(id);a&b|[c]{d}*?~#! `e` déjà 🚀.tar.gz"""


@dataclass(frozen=True)
class Desk:
    """A person at the laptop, and the app that is uploaded to."""

    site: Site
    port: int

    @property
    def box(self) -> Box:
        return self.site.box

    def pack(self, version: str, name: str = "build.tar.gz", start: str = SERVES) -> str:
        """A build on the laptop; returns where."""
        self.box.write(f"{HOME}/{version}/version", version)
        self.box.write(f"{HOME}/{version}/start", start.format(port=self.port))
        self.box.run("tar", "-czf", f"{HOME}/{version}.tar.gz", "-C", f"{HOME}/{version}", ".", user="laptop")
        self.box.run("mkdir", "-p", f"{HOME}/builds", user="laptop")
        self.box.run("mv", f"{HOME}/{version}.tar.gz", f"{HOME}/builds/{name}", user="laptop")
        return f"builds/{name}"

    def command(self, *arguments: str, address: str = "") -> Sequence[str]:
        return (f"{UPLOAD}/dropdeploy-push", *arguments, address or f"{self.site.uploader}@server")

    def push(self, *arguments: str, address: str = "") -> Completed:
        """Upload as told, and see what it says."""
        return self.box.run(*self.command(*arguments, address=address), user="laptop", check=False)

    def live(self) -> str:
        release = os.readlink(self.box.path(f"{self.site.root}/app"))
        return self.box.path(f"{self.site.root}/{release}/version").read_text()

    def await_step(self, step: str) -> None:
        """The agent is at this step with the build, or past it."""
        deploying = self.box.path(f"{self.site.drop}/build.tar.gz.deploying")

        def is_there() -> bool:
            with suppress(FileNotFoundError):
                return f'"{step}"' in deploying.read_text()
            return False

        wait_until(is_there, step, 60)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """What WAITS waits no longer."""
        go = self.box.path("/run/go")
        go.touch()
        try:
            yield
        finally:
            go.unlink()

    def left(self) -> list[str]:
        """What is in the drop directory that neither the agent nor its answer explains."""
        return [
            name
            for name in os.listdir(self.box.path(self.site.drop))
            if not name.endswith((".result.toml", ".deploying")) and name != "status.toml"
        ]


def open_desk(server: Server, name: str, port: int, accept: str = "") -> Desk:
    site = server.add_app(name, CONFIG.format(port=port, accept=accept))
    server.add_unit(site.unit, UNIT.format(name=name, root=site.root))
    return Desk(site, port)


@pytest.fixture(scope="module")
def desks(own_server: Server) -> dict[str, Desk]:
    desks = {"plain": open_desk(own_server, "plain", 4001), "sealed": open_desk(own_server, "sealed", 4002, SEALED)}
    own_server.box.run("sh", "-c", "echo 127.0.0.1 server >> /etc/hosts")
    own_server.box.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/signing key", user="laptop")
    public = own_server.box.path(f"{HOME}/signing key.pub").read_text()
    own_server.box.write(SIGNERS, f'ada namespaces="dropdeploy" {public}')
    own_server.agent("start")
    return desks


@pytest.fixture
def desk(desks: dict[str, Desk]) -> Desk:
    return desks["plain"]


@pytest.fixture
def sealed(desks: dict[str, Desk]) -> Desk:
    return desks["sealed"]


class TestBuilds:
    def test_what_is_well_goes_live(self, desk: Desk) -> None:
        build = desk.pack("v1")
        done = desk.push("--meta", 'author=Ada "L" \\o/', "--meta=commit=1a2b3c4", "--result", "kept.toml", build)
        assert (done.code, done.err) == (0, ""), done
        assert re.search(r"^  ok +extract +\d+\.\d{3} s", done.out, re.MULTILINE), done
        assert re.search(r"^deployed: \d{8}-\d{6} is live and healthy after ", done.out, re.MULTILINE), done
        result = tomllib.loads(desk.box.path(f"{HOME}/kept.toml").read_text())
        assert result["meta"] == {"author": 'Ada "L" \\o/', "commit": "1a2b3c4"}
        assert desk.live() == "v1"
        wait_until(lambda: desk.left() == [], "the upload to be cleared away")

    def test_what_is_ill_is_told_each_time(self, desk: Desk) -> None:
        desk.push(desk.pack("well"))
        build = desk.pack("ill", start=CRASHES)
        first, second = desk.push(build), desk.push(build)
        for done in (first, second):
            assert (done.code, done.err) == (1, ""), done
            assert re.search(r"^  failed +health ", done.out, re.MULTILINE), done
            assert "\nrolled-back: " in done.out, done
            assert "\n  unit-crashed (health): plain.service " in done.out, done
            assert "\n  hint: " in done.out, done
            assert '\n    cannot go on: "DATABASE_URL" is not set\n' in done.out, done
            assert "\n    C:\\new\n" in done.out, done
        assert first.out != second.out
        assert desk.live() == "well"

    def test_a_name_with_everything_in_it(self, desk: Desk) -> None:
        build = desk.pack("odd", name=ODD_NAME)
        for arguments in ((build,), ("--name", f" {ODD_NAME}", build)):
            done = desk.push(*arguments)
            assert done.code == 0, done
        # From where the file is: its name looks like an option then.
        done = desk.box.run(
            *("env", f"--chdir={HOME}/builds", *desk.command("--", ODD_NAME)), user="laptop", check=False
        )
        assert done.code == 0, done
        wait_until(lambda: not any("déjà" in name for name in desk.left()), "the uploads to be cleared away")

    def test_another_builds_result_is_none_of_ours(self, desk: Desk) -> None:
        """The first one's verdict comes when the second has taken its name."""
        slow = desk.pack("slow", start=WAITS)
        with desk.box.popen(*desk.command(slow), user="laptop") as first:
            desk.await_step("restart")
            quick = desk.pack("second, which is longer")
            size = desk.box.path(f"{HOME}/{quick}").stat().st_size
            with desk.box.popen(*desk.command(quick), user="laptop") as second:
                upload = desk.box.path(f"{desk.site.drop}/build.tar.gz")
                wait_until(lambda: upload.exists() and upload.stat().st_size == size, "the second one")
                with desk.gone():
                    out, err = second.communicate(timeout=60)
            first.kill()
        assert (second.returncode, err) == (0, ""), out
        assert desk.live() == "second, which is longer"

    def test_checksum_and_signature(self, sealed: Desk) -> None:
        build = sealed.pack("sealed")
        done = sealed.push("--checksum", "--sign", "signing key", build)
        assert done.code == 0, done
        # Beside the build, as other tools make them.
        sealed.box.run("sh", "-c", "cd builds; sha256sum build.tar.gz > build.tar.gz.sha256", user="laptop")
        command = "cd builds; ssh-keygen -q -Y sign -n dropdeploy -f '../signing key' build.tar.gz"
        sealed.box.run("sh", "-c", command, user="laptop")
        assert sealed.push(build).code == 0
        # And of another build.
        sealed.pack("unsealed")
        refused = sealed.push("--sign", "signing key", build)
        sealed.box.run("sh", "-c", "rm builds/*.sha256 builds/*.sig", user="laptop")
        assert refused.code == 1, refused
        assert "\nrejected: build.tar.gz was not deployed, nothing was touched\n" in refused.out, refused
        assert "\n  checksum-mismatch (" in refused.out, refused
        # What the failed one left of them says nothing about this one.
        done = sealed.push("--checksum", "--sign", "signing key", build)
        assert done.code == 0, done
        assert sealed.live() == "unsealed"

    def test_a_signature_of_somebody_else(self, sealed: Desk) -> None:
        sealed.box.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/stranger", user="laptop")
        done = sealed.push("--checksum", "--sign", "stranger", sealed.pack("strange"))
        assert done.code == 1, done
        assert "\n  signature-invalid (" in done.out, done


class TestMarkers:
    def test_back_and_forth(self, desk: Desk) -> None:
        for version in ("older", "newer"):
            assert desk.push(desk.pack(version)).code == 0
        newer = os.readlink(desk.box.path(f"{desk.site.root}/app")).removeprefix("releases/")
        back = desk.push("--rollback")
        assert back.code == 0, back
        assert desk.live() == "older"
        forth = desk.push("--rollback", newer)
        assert forth.code == 0, forth
        assert desk.live() == "newer"
        nowhere = desk.push("--rollback=20200101-000000")
        assert nowhere.code == 1, nowhere
        assert "\n  no-such-release (" in nowhere.out, nowhere

    def test_a_restart(self, desk: Desk) -> None:
        desk.push(desk.pack("steady"))
        before = desk.box.unit(desk.site.unit, "InvocationID")
        done = desk.push("--restart")
        assert done.code == 0, done
        assert "\ndeployed: " in done.out, done
        assert desk.box.unit(desk.site.unit, "InvocationID") != before


class TestRecipes:
    """The commands of contrib/upload/README.md as they stand, with this app's name."""

    @pytest.mark.parametrize("heading", ["rclone", "lftp"])
    def test_uploads_and_waits(self, desk: Desk, heading: str) -> None:
        box = desk.box
        box.run("sh", "-c", f"ssh-keyscan server 2> /dev/null > {HOME}/.ssh/known_hosts", user="laptop")
        lines = [line for block in told_commands(heading, README) for line in block]
        script = "\n".join(["set -eu", "cd builds", *lines]).replace("up-myapp", desk.site.uploader)
        desk.pack(heading)
        done = box.run("sh", "-c", script, user="laptop", check=False)
        assert done.code == 0, done
        assert '\nstatus = "deployed"\n' in done.out, done
        assert desk.live() == heading
        desk.pack("ill", start=CRASHES)
        done = box.run("sh", "-c", script, user="laptop", check=False)
        assert done.code == 1, done
        assert "DATABASE_URL" in done.out, done


class TestContinuousIntegration:
    @pytest.fixture
    def given(self, sealed: Desk) -> dict[str, str]:
        """What people enter as secrets and variables."""
        return {
            "key": sealed.box.path(f"{HOME}/.ssh/id_ed25519").read_text().strip(),
            "signing": sealed.box.path(f"{HOME}/signing key").read_text().strip(),
            "hosts": sealed.box.run("ssh-keyscan", "-t", "ed25519", "127.0.0.1").out.strip(),
        }

    def test_github(self, sealed: Desk, given: dict[str, str]) -> None:
        """What the action's one step runs, with the environment that action.yml gives it."""
        action = (REPOSITORY / "contrib/upload/github/action.yml").read_text()
        names = re.findall(r"^        ([A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}$", action, re.MULTILINE)
        declared = dict(re.findall(r"^  ([a-z-]+):\n    description:.*\n    default: (.*)$", action, re.MULTILINE))
        defaults = {name: declared.get(of, "").strip('"') for name, of in names}
        assert {of for _, of in names} == set(re.findall(r"^  ([a-z-]+):\n    description:", action, re.MULTILINE)) - {
            "status",
            "release",
        }
        env = defaults | {
            "FILE": sealed.pack("github"),
            "HOST": "127.0.0.1",
            "REMOTE_USER": sealed.site.uploader,
            "KNOWN_HOSTS": given["hosts"],
            "KEY": given["key"],
            "SIGNING_KEY": given["signing"],
            "META": 'build=7\n\ntold=a "b"\n',
            "GITHUB_OUTPUT": f"{HOME}/output",
            "GITHUB_ACTOR": "ada",
        }
        run = (f"{UPLOAD}/github/push",)
        done = sealed.box.run(*run, user="laptop", env=env, check=False)
        assert done.code == 0, done
        assert sealed.live() == "github"
        told = tomllib.loads(sealed.box.path(f"{sealed.site.drop}/build.tar.gz.result.toml").read_text())
        assert (told["meta"]["author"], told["meta"]["told"]) == ("ada", 'a "b"')
        output = sealed.box.path(f"{HOME}/output").read_text()
        assert output == f"status=deployed\nrelease={told['release']}\n"
        unsigned = sealed.box.run(*run, user="laptop", env=env | {"SIGNING_KEY": given["key"]}, check=False)
        assert unsigned.code == 1, unsigned
        assert sealed.box.run(*run, user="laptop", env=env | {"ROLLBACK": "true"}, check=False).code == 0
        assert sealed.box.run(*run, user="laptop", env=env | {"RESTART": "true"}, check=False).code == 0
        unknown = sealed.box.run(*run, user="laptop", env=env | {"KNOWN_HOSTS": ""}, check=False)
        assert (unknown.code, unknown.out) == (2, "")

    def test_gitlab(self, sealed: Desk, given: dict[str, str]) -> None:
        for name, text in given.items():
            sealed.box.write(f"{HOME}/of type file/{name}", text)
        env = {
            "DEPLOY_TO": f"{sealed.site.uploader}@127.0.0.1",
            "DEPLOY_FILE": sealed.pack("gitlab"),
            "DEPLOY_KEY": f"{HOME}/of type file/key",
            "DEPLOY_KNOWN_HOSTS": f"{HOME}/of type file/hosts",
            "DEPLOY_SIGNING_KEY": f"{HOME}/of type file/signing",
            "DEPLOY_OPTIONS": "-p 22 --timeout 5min",
            "CI_COMMIT_SHA": "1a2b3c4",
        }
        done = sealed.box.run(f"{UPLOAD}/gitlab/push", user="laptop", env=env, check=False)
        assert done.code == 0, done
        assert sealed.live() == "gitlab"
        back = env | {"DEPLOY_FILE": "", "DEPLOY_OPTIONS": "--rollback"}
        assert sealed.box.run(f"{UPLOAD}/gitlab/push", user="laptop", env=back, check=False).code == 0
        assert sealed.live() != "gitlab"
        del env["DEPLOY_TO"]
        lacking = sealed.box.run(f"{UPLOAD}/gitlab/push", user="laptop", env=env, check=False)
        assert (lacking.code, lacking.err) == (2, "the variable DEPLOY_TO is missing, see dropdeploy.gitlab-ci.yml\n")


class TestTrouble:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("-i", "other", "-o", "IdentitiesOnly=yes"), "is it the right user and the right key"),
            (
                ("-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=/dev/null"),
                "the server's host key is not the one in known_hosts",
            ),
            (("-p", "1"), "look at what ssh says above"),
            (("--app-dir", "/nowhere"), "is it the right directory?"),
            (("--app-dir", "/sealed"), "are you one of its uploaders?"),
        ],
    )
    def test_no_connection(self, desk: Desk, arguments: tuple[str, ...], said: str) -> None:
        if not desk.box.path(f"{HOME}/other").exists():
            desk.box.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/other", user="laptop")
        done = desk.push(*arguments, desk.pack("nowhere"))
        assert done.code == 3, done
        assert "dropdeploy-push: build.tar.gz: not uploaded to up-plain@server, so nothing was deployed:" in done.err
        assert said in done.err, done

    def test_the_directory_is_named(self, desk: Desk) -> None:
        build = desk.pack("named")
        assert desk.push(build, address=f"{desk.site.uploader}@server:/plain").code == 0
        assert desk.push("--app-dir=../plain", build).code == 0

    def test_a_connection_that_breaks_while_the_server_works(self, desk: Desk) -> None:
        build = desk.pack("lasting", start=WAITS)
        with desk.box.popen(*desk.command(build), user="laptop") as process:
            desk.await_step("restart")
            desk.box.run("pkill", "-KILL", "-u", desk.site.uploader)
            assert process.stdout is not None
            while "connection is lost" not in (line := process.stdout.readline()):
                assert line
            with desk.gone():
                out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), out
        assert "\ndeployed: " in out

    def test_no_verdict_in_time(self, desk: Desk) -> None:
        build = desk.pack("held")
        desk.site.sftp("put /etc/hostname hold")
        done = desk.push("--timeout", "1s", build)
        assert done.code == 3, done
        assert "build.tar.gz: uploaded, but not decided after 1s" in done.err, done
        with desk.box.popen(*desk.command(build), user="laptop") as process:
            assert process.stdout is not None
            while "  held: " not in (line := process.stdout.readline()):
                assert line
            desk.site.sftp("rm hold")
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), out
        assert desk.live() == "held"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "expected a FILE"),
            (("builds",), "not a file that can be read; pack a directory first"),
            (("missing.tar.gz",), "there is no such file"),
            (("/etc/hostname",), "hostname: not a build; expected .tar.gz"),
            (("--name", "a/b.zip", "/etc/hostname"), 'has no "/"'),
            (("--name", ".b.zip", "/etc/hostname"), "begins with a dot"),
            (("--name", "a\nb.zip", "/etc/hostname"), "a line break"),
            (("--name", "x" * 240 + ".zip", "/etc/hostname"), "too long"),
            (("--meta", "a b=c", "/etc/hostname"), "a key is made of"),
            (("--meta", "a=1", "--meta", "a=2", "/etc/hostname"), "a is there twice"),
            (("--timeout", "soon", "/etc/hostname"), "expected a span"),
            (("--rollback", "--restart"), "two different things"),
            (("--rollback", "--checksum"), "no build"),
            (("--fast",), "--fast is no option"),
            (("--sign", "missing", "--name", "a.zip", "/etc/hostname"), "cannot be signed with missing"),
        ],
    )
    def test_misuse(self, desk: Desk, arguments: tuple[str, ...], said: str) -> None:
        desk.pack("any")
        done = desk.push(*arguments)
        assert (done.code, done.out) == (2, ""), done
        assert said in done.err, done
