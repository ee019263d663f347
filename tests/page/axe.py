"""axe-core (https://github.com/dequelabs/axe-core): finds what keeps people from using a page. From npm, kept between
runs; its licence (MPL-2.0) lets us run it, and it goes nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.box import cache
from tests.page.browser import Browser

VERSION = "4.14.1"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def source() -> str:
    """The script, fetched once."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch axe-core with")
    with cache.entry(cache.directory("npm"), f"axe-core-{VERSION}") as place:
        script = place / "node_modules/axe-core/axe.min.js"
        if not script.exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"axe-core@{VERSION}"]
            done = subprocess.run(
                [*command, "--prefix", str(place)], capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return Path(script).read_text()


def violations(browser: Browser, script: str) -> list[str]:
    """What is wrong with the page, one sentence each with the element."""
    if not browser.ask("typeof axe === 'object'"):
        browser.ask(f"{script}; true")
    options = {"runOnly": list(RULES), "resultTypes": ["violations"]}
    found = browser.ask(f"axe.run(document, {json.dumps(options)}).then((told) => told.violations)")
    return [f"{each['id']}: {each['help']}: {node['html'][:300]}" for each in found for node in each["nodes"]]
