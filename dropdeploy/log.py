"""The agent's log, for the operator: one line an event, on standard error, which under systemd is the journal."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from dropdeploy.report.harmless import one_line


def begin() -> None:
    """From now on what is logged is shown. The journal adds the time, and takes the level from a prefix
    (sd-daemon(3))."""
    handler = logging.StreamHandler()
    is_journal = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(_JournalFormatter() if is_journal else logging.Formatter("%(asctime)s %(message)s"))
    handler.addFilter(_put_in_one_line)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _put_in_one_line(record: logging.LogRecord) -> bool:
    """An event may tell the name of an uploaded file, which may hold anything but "/"."""
    record.msg, record.args = one_line(record.getMessage()), ()
    return True


class _JournalFormatter(logging.Formatter):
    LEVELS: Mapping[int, int] = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{self.LEVELS.get(record.levelno, 2)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())
