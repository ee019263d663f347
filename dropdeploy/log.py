"""The agent's log, for the operator: one line an event.

On standard error; where that is the journal, as entries with the fields of ``diary``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from dropdeploy.journald import Journal, is_journal
from dropdeploy.report.harmless import one_line

IDENTIFIER = "dropdeploy"

_PRIORITIES: Mapping[int, int] = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


def begin(journal: Journal | None = None) -> None:
    """From now on what is logged is shown."""
    handler: logging.Handler
    if is_journal(sys.stderr.fileno()):
        handler = _JournalHandler(journal or Journal())
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handler.addFilter(_put_in_one_line)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _put_in_one_line(record: logging.LogRecord) -> bool:
    """An event may tell the name of an uploaded file, which may hold anything but "/"."""
    record.msg, record.args = one_line(record.getMessage()), ()
    return True


class _JournalHandler(logging.StreamHandler):  # type: ignore[type-arg]  # of Python 3.11, which cannot be subscripted
    """Entries to journald; should it not take one, lines to standard error, which it reads when it is well again."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._text = logging.Formatter("%(message)s")
        self.setFormatter(_LevelFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        # What was passed as `extra` are attributes; a field's name tells it from logging's own.
        fields = {name: str(value) for name, value in record.__dict__.items() if name.isupper()}
        entry = {
            "MESSAGE": self._text.format(record),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
        }
        try:
            self._journal.send(entry | fields)
        except OSError:
            super().emit(record)


class _LevelFormatter(logging.Formatter):
    """The level as a prefix of each line, sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(f"<{_priority(record)}>{line}" for line in super().format(record).splitlines())


def _priority(record: logging.LogRecord) -> int:
    return _PRIORITIES.get(record.levelno, 2)
