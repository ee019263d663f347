"""``dropdeploy run`` with a clock that somebody sets: what it is off by, in seconds, stands in $CLOCK_OFF_BY's file.

The kernel's CLOCK_REALTIME belongs to the whole machine. Everything in the agent that asks for the time of day asks
``datetime.now``, which is another one here; monotonic clocks never jump, here as there.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

from dropdeploy import cli
from dropdeploy.deploy import preflight
from dropdeploy.lanes import answers, resumption, working
from dropdeploy.report import desk

OFF_BY = Path(os.environ["CLOCK_OFF_BY"])


class OddClock(datetime):
    """The time of day, as wrong as the file says."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(seconds=float(OFF_BY.read_text()))


for module in (working, resumption, answers, preflight, desk):
    assert module.datetime is datetime  # type: ignore[attr-defined]
    module.datetime = OddClock  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(cli.main())
