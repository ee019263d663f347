"""The Debian package, and README's commands that install it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.box.machine import REPOSITORY, Box


def build_deb(workshop: Box, out: Path, version: str = "") -> Path:
    """Make the package as README tells, from a checkout in the box, as ``version`` if one is named; returns where it
    is, outside."""
    source = f"/root/{version or 'from-readme'}"
    workshop.run("rm", "-rf", source)
    workshop.run("cp", "-r", "/src", source)
    if version:
        workshop.run("sed", "-i", f's/^__version__ = .*/__version__ = "{version}"/', f"{source}/dropdeploy/__init__.py")
        workshop.run("sed", "-i", f"1s/([^)]*)/({version})/", f"{source}/packaging/debian/changelog")
    (commands,) = [block for block in told_commands("Install on a server") if block[-1].endswith("build-deb")]
    for command in commands:  # the tools are there already: apt finds nothing to do
        told = workshop.run("env", f"--chdir={source}", "sh", "-c", command, timeout_s=180).out
    return Path(shutil.copy(workshop.path(told.strip()), out))


def told_commands(heading: str, page: str = "README.md") -> list[list[str]]:
    """The commands that README tells in this section: the lines of each of its blocks of shell."""
    section = (REPOSITORY / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        block.strip().splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ]
