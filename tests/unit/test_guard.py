"""The guard of conftest.py must itself catch what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKS = """
    import asyncio
    async def test_it():
        global task
        task = asyncio.create_task(asyncio.sleep(30))
"""
WAITS = """
    import asyncio, time
    async def test_it():
        await asyncio.sleep(0)
        time.sleep(2.2)
"""
COMPUTES = """
    import asyncio, time
    async def test_it():
        await asyncio.sleep(0)
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
"""
WARNS = """
    import warnings
    async def test_it():
        warnings.warn("look out")
"""
FINE = """
    import asyncio
    async def test_it():
        await asyncio.create_task(asyncio.sleep(0))
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (LEAKS, "tasks left running"),
        (WAITS, "the loop was blocked"),
        (COMPUTES, "the loop was blocked"),
        (WARNS, "look out"),
        (FINE, "1 passed"),
    ],
    ids=["leaks", "waits", "computes", "warns", "fine"],
)
def test_the_guard_catches_it(tmp_path: Path, body: str, told: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(textwrap.dedent(body))
    (tmp_path / "pyproject.toml").write_text(
        # pytest-asyncio asks for an option that Debian 12's does not know yet.
        '[tool.pytest.ini_options]\nasyncio_mode = "auto"\n'
        'filterwarnings = ["error", "ignore:The configuration option"]\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told in done.stdout, done.stdout + done.stderr
    assert (done.returncode == 0) == (body == FINE)
