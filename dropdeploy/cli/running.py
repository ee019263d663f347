"""``dropdeploy run``."""

from __future__ import annotations

import argparse


def run(asked: argparse.Namespace) -> int:
    """Be the agent until told to stop."""
    from dropdeploy import process  # noqa: PLC0415 - brings aiohttp and watchdog

    return process.run(asked.config.absolute())
