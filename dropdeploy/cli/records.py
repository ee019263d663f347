"""The history as the commands read it: never made here, never written to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.history.database import HISTORY_NAME
from dropdeploy.history.failure import HistoryError, UnfitHistoryError
from dropdeploy.history.reading import HistoryReader
from dropdeploy.model.config import Config


@contextlib.contextmanager
def open_history(config: Config) -> Iterator[HistoryReader | None]:
    """The history; None when no agent has written one yet. Raises a Refusal when it cannot be read."""
    path = config.settings.state / HISTORY_NAME
    try:
        os.stat(path)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _unreadable(f"{path}: {error.strerror}") from error
    try:
        history = HistoryReader(path)
    except UnfitHistoryError as error:
        raise _unreadable(f"{error}; the agent sets it aside when it starts, and begins a new one") from error
    except HistoryError as error:
        raise _unreadable(str(error)) from error
    with contextlib.closing(history):
        yield history


def _unreadable(reason: str) -> Refusal:
    return Refusal(ExitCode.UNAVAILABLE, reason)
