"""The Debian package, and README's commands that install it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.box.machine import REPOSITORY, Box


def build_deb(workshop: Box, out: Path, version: str = "") -> Path:
    """Make the package from the box's own checkout, as ``version`` if one is named; returns where it is, outside."""
    source = "/src"
    if version:
        source = f"/root/{version}"
        workshop.run("cp", "-r", "/src", source)
        workshop.run("sed", "-i", f's/^__version__ = .*/__version__ = "{version}"/', f"{source}/dropdeploy/__init__.py")
        workshop.run("sed", "-i", f"1s/([^)]*)/({version})/", f"{source}/packaging/debian/changelog")
    made = workshop.run(f"{source}/packaging/build-deb", "/root/made", timeout_s=180).out.strip()
    return Path(shutil.copy(workshop.path(made), out))


def told_commands(heading: str, page: str = "README.md") -> list[list[str]]:
    """The commands that README tells in this section: the lines of each of its blocks of shell."""
    section = (REPOSITORY / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        block.strip().splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ]
