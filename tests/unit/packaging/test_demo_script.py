"""What contrib/demo installs is what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEPENDENCIES = [
    re.split(r"[<>=!~ ]", each)[0]
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
]
NOT_USED = "pydbus"  # systemd plays no part in the demo


@pytest.mark.parametrize("name", [name for name in DEPENDENCIES if name != NOT_USED])
def test_the_demo_looks_for_it_and_installs_it(name: str) -> None:
    script = (ROOT / "contrib/demo").read_text()
    (imports,) = re.findall(r"^needs='.*; import (.*)'$", script, re.MULTILINE)
    (packages,) = re.findall(r"^python_packages=\((.*)\)$", script, re.MULTILINE)
    assert name.replace("-", "_") in imports.split(", ")
    assert f"python3-{name}" in packages.split()
