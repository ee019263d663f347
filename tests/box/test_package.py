"""The package as such: what its distribution's own critics say of it, its manual, its completions, and pip's ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box.machine import SEARCH_PATH, Box
from tests.box.package import build_deb, told_commands
from tests.box.recipes import workshop

PAGES = (
    "man1/dropdeploy.1",
    "man1/dropdeploy-push.1",
    "man5/dropdeploy.toml.5",
    "man5/dropdeploy-app.toml.5",
    "man7/dropdeploy.7",
)
TYPIST = Path(__file__).with_name("typist.py")
# What is typed, and what the command is given then. \\t asks for a completion.
TYPED = (
    ("dropdeploy sta\t", "status"),
    ("dropdeploy init --dry\t", "init --dry-run"),
    ("dropdeploy rollback sh\t", "rollback shop"),
    ("dropdeploy init shop --strategy rel\t", "init shop --strategy reload"),
    ("dropdeploy --config /etc/dropdeploy hist\t", "--config /etc/dropdeploy history"),
    ("dropdeploy deploy shop /etc/hostna\t", "deploy shop /etc/hostname"),
)
SHELLS = {
    "bash": ("bash --norc -i", "source /usr/share/bash-completion/bash_completion"),
    "zsh": ("zsh -f -i", "autoload -Uz compinit; compinit -u"),
    "fish": ("fish --private", "true"),
}
ASK = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:3000/').status)"
READ_PAGE = """
import re
from urllib.request import urlopen
page = urlopen("http://127.0.0.1:8731/").read().decode()
files = [urlopen(f"http://127.0.0.1:8731{address}") for address in re.findall('"(/static/[^"]+)"', page)]
print(len(files), *{file.status for file in files})
"""
PRINTS_WHAT_IT_IS_GIVEN = '#!/bin/sh\necho "got <$*>"\n'


@pytest.fixture(scope="module")
def unpacked(bookworm_workshop: Box, package: Path) -> Box:
    """The workshop with the package's files in place; its command only tells what it is given."""
    box = bookworm_workshop
    box.copy_in(package, f"/root/{package.name}")
    box.run("sh", "-c", f"dpkg --fsys-tarfile /root/{package.name} | tar -x -C / ./usr/share")
    box.write("/etc/dropdeploy/apps.d/shop.toml", "")
    box.write("/root/bin/dropdeploy", PRINTS_WHAT_IT_IS_GIVEN, mode=0o755)
    box.copy_in(TYPIST, "/root/typist.py")
    return box


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_lintian_has_nothing_to_say(
    suite: str, bookworm_workshop: Box, package: Path, new_box: Callable[..., Box], tmp_path: Path
) -> None:
    box = bookworm_workshop if suite == "bookworm" else new_box(workshop(suite))
    box.copy_in(package, f"/root/as-made-on-bookworm/{package.name}")
    box.copy_in(build_deb(box, tmp_path), f"/root/as-made-here/{package.name}")
    for place in ("as-made-on-bookworm", "as-made-here"):
        options = ("--allow-root", "--fail-on=error,warning")
        done = box.run("lintian", *options, f"/root/{place}/{package.name}", timeout_s=120, check=False)
        assert (done.code, done.out) == (0, ""), done


def test_the_page_has_its_style_script_and_icon(unpacked: Box, package: Path) -> None:
    told = unpacked.run("dpkg", "--contents", f"/root/{package.name}").out
    for name in ("page.css", "page.js", "icon.svg"):
        assert f"/dropdeploy/report/page/{name}\n" in told


@pytest.mark.parametrize("page", PAGES)
def test_the_manual_is_well_formed(unpacked: Box, page: str) -> None:
    options = ("--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z")
    shown = unpacked.run("man", *options, f"/usr/share/man/{page}.gz", env={"MANWIDTH": "80"})
    assert shown.err == ""
    unpacked.run("sh", "-c", f"zcat /usr/share/man/{page}.gz > /root/page")
    lint = unpacked.run("mandoc", "-T", "lint", "-W", "warning", "/root/page", check=False)
    assert (lint.out, lint.err) == ("", "")


def test_man_finds_the_pages(unpacked: Box) -> None:
    for section, name in (
        ("1", "dropdeploy"),
        ("1", "dropdeploy-push"),
        ("5", "dropdeploy.toml"),
        ("5", "dropdeploy-app.toml"),
        ("7", "dropdeploy"),
    ):
        assert "NAME" in unpacked.run("man", "-P", "cat", section, name).out


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "given"), TYPED)
def test_the_shell_completes(unpacked: Box, shell: str, typed: str, given: str) -> None:
    path = {"PATH": f"/root/bin:{SEARCH_PATH}"}
    done = unpacked.run("python3", "/root/typist.py", *SHELLS[shell], typed, check=False, env=path)
    assert f"got <{given}>" in done.out.replace("> ", ">"), done


def test_pip_has_it_too(bookworm_workshop: Box) -> None:
    """README's pipx line, over Debian's own libraries; the wheel is made from the sdist, and no index is asked."""
    box = bookworm_workshop
    box.run("cp", "-r", "/src", "/root/checkout")
    box.run("python3", "-m", "build", "--no-isolation", "--outdir", "/root/dist", "/root/checkout", timeout_s=120)
    (line,) = [line for block in told_commands("Install on a server") for line in block if "pipx install " in line]
    assert line.endswith(" dropdeploy")
    command = line.removesuffix("dropdeploy") + "/root/dist/dropdeploy-*.whl"
    box.run("sh", "-c", command, env={"PIP_NO_INDEX": "1"}, timeout_s=120)
    # With nothing of the package: init makes the agent's user and unit, too.
    box.run("rm", "-rf", "/etc/dropdeploy")
    box.run("dropdeploy", "init", "pipped", "--units", "python", "--port", "3000", timeout_s=120)
    box.write("/etc/dropdeploy/dropdeploy.toml", 'listen = "127.0.0.1:8731"\n', mode=0o640, owner="root:dropdeploy")
    box.run("systemctl", "restart", "dropdeploy.service")
    share = "/usr/local/lib/pipx/venvs/dropdeploy/share/dropdeploy"
    box.run("tar", "-czf", "/root/build.tar.gz", "-C", f"{share}/apps/python", "main.py")
    deployed = box.run("dropdeploy", "deploy", "pipped", "/root/build.tar.gz", check=False)
    assert deployed.code == 0, deployed
    assert box.run("python3", "-c", ASK).out == "200\n"
    assert box.run("python3", "-c", READ_PAGE).out == "3 200\n"
    box.run("dropdeploy", "init", "pipped", "--undo")
    assert "dropdeploy.service" not in box.run("systemctl", "list-unit-files").out
