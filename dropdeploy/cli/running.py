"""``dropdeploy run``."""

from __future__ import annotations

import argparse
import gc


def run(asked: argparse.Namespace) -> int:
    """Be the agent until told to stop."""
    gc.disable()  # whoever waits for an interrupted deploy waits for this, and nothing of it is garbage
    from dropdeploy import process  # noqa: PLC0415 - brings watchdog and SQLite

    gc.freeze()
    gc.enable()
    return process.run(asked.config.absolute())
