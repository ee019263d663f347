"""inotify's limits, as the kernel sets them in a user namespace of the test's own, where that needs no right."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
from pathlib import Path
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.inotify import check_inotify
from dropdeploy.cli.agent_state import Agent
from dropdeploy.model.app import App
from dropdeploy.model.config import Config, Settings
apps = tuple(App(name, Path("/"), Path("/"), "x.service") for name in "abc")
for finding in check_inotify(Ground(Config(Settings(), apps), Path("/"), Agent.STOPPED, 0)):
    print(finding.level.lower(), finding.what, finding.mend)
"""


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("max_inotify_watches=3", "ok the kernel's limits let every drop directory be watched"),
        ("max_inotify_watches=2", "warn fs.inotify.max_user_watches is too small for 3 of the agent's"),
        ("max_inotify_instances=0", "warn fs.inotify.max_user_instances is too small for 1 of the agent's"),
    ],
)
def test_limits(limit: str, told: str) -> None:
    name, _, value = limit.partition("=")
    script = f'echo {value} > /proc/sys/user/{name}; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", CODE]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.startswith(told)
    assert ("sysctl --system" in found) == told.startswith("warn")
