"""A history that was lost is rebuilt from what is on disk: from the result files beside the uploads.

They tell which releases were healthy, what was live, which numbers were given, and which uploads have their answer.
Only files that the agent itself has written are believed, which their owner tells: uploaders may write there too.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dropdeploy.deploy.verdict import release_proved
from dropdeploy.history.failure import UnfitHistoryError
from dropdeploy.history.keeping import History
from dropdeploy.intake.names import META, READY, SHA256, SIGNATURE, Archive, meaning_of
from dropdeploy.intake.wholeness import version_of
from dropdeploy.lanes.answers import REOPENING
from dropdeploy.model.app import App
from dropdeploy.model.config import Config
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import NOWHERE, Action, Answer, Format, Marker, Upload, Version
from dropdeploy.report.dropfiles import RESULT
from dropdeploy.report.result import parse_result

logger = logging.getLogger(__name__)

_RESULT_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict that stands in a result file, and when it was written (ns, the file's ctime)."""

    outcome: Outcome
    written_ns: int


def open_history(path: Path, config: Config) -> History:
    """The history; where there is none that can be read, a new one with what is known. Raises HistoryError.

    What cannot be read is kept aside, under a name that says why.
    """
    is_new = not path.exists() or path.stat().st_size == 0
    try:
        history = History(path)
    except UnfitHistoryError as unfit:
        aside = set_aside(path, unfit.mark, datetime.now(UTC))
        logger.warning("%s; it is kept as %s, and a new history begins", unfit, aside)
        is_new = True
        history = History(path)
    if is_new:
        recalled = sum(recall(history, app) for app in config.apps)
        if recalled:
            found = f"{recalled} verdict{'' if recalled == 1 else 's'}"
            logger.warning("the history is new: %s recalled from the result files in the drop directories", found)
    return history


def set_aside(path: Path, mark: str, now: datetime) -> Path:
    """Rename a database and what SQLite keeps beside it. Returns the new name, under which SQLite can still open it."""
    aside = path.with_name(f"{path.name}.{mark}-{now:%Y%m%d-%H%M%S}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.{mark}-{now:%Y%m%d-%H%M%S}-{count}")
    for ending in ("-wal", "-shm", ""):  # the database last: a crash in between is no different from none
        try:
            os.rename(f"{path}{ending}", f"{aside}{ending}")
        except FileNotFoundError:
            continue
    return aside


def recall(history: History, app: App) -> int:
    """Take in what an app's result files tell; returns how many did. A directory that cannot be read tells nothing."""
    recalled = 0
    try:
        told = sorted(_results(app), key=lambda each: (each.outcome.id, each.written_ns))
    except OSError as error:
        logger.warning("%s: nothing can be recalled from %s: %s", app.name, app.drop, error.strerror)
        return 0
    for each in told:
        proved = release_proved(each.outcome)
        healthy = {} if proved is None or not each.outcome.release else {each.outcome.release: proved}
        request = _request(app.drop, each)
        if not history.recall(each.outcome, request or _gone(each.outcome), healthy):
            continue
        recalled += 1
        if request is not None:
            fault = each.outcome.fault
            answer = Answer(request, fault is not None and fault.code in REOPENING)
            history.recall_answer(app.name, answer, each.outcome.id)
    return recalled


def _results(app: App) -> Iterator[Told]:
    with os.scandir(app.drop) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(RESULT)]
    for name in names:
        try:
            fd = os.open(app.drop / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                continue
            outcome = parse_result(file.read(_RESULT_LIMIT).decode("utf-8", "replace"))
        if outcome is not None and outcome.app == app.name and outcome.id > 0:
            yield Told(outcome, status.st_ctime_ns)


def _request(drop: Path, told: Told) -> Upload | Marker | None:
    """What was answered, if it stands there still as it did then; None when it is gone or has changed since."""
    name = told.outcome.upload
    version = _version(drop, name, told.written_ns)
    if version is None:
        return None
    if told.outcome.action is not Action.DEPLOY:
        return Marker(name, told.outcome.action, version)
    sidecars = ((ending, _version(drop, name + ending, told.written_ns)) for ending in (META, SHA256, SIGNATURE))
    known = tuple((ending, found) for ending, found in sidecars if found is not None)
    return Upload(name, _format(drop, name), version, _version(drop, name + READY, told.written_ns), known)


def _version(drop: Path, name: str, before_ns: int) -> Version | None:
    try:
        status = os.lstat(drop / name)
    except (OSError, ValueError):
        return None
    return version_of(status) if status.st_ctime_ns <= before_ns else None


def _format(drop: Path, name: str) -> Format:
    if (drop / name).is_dir():
        return Format.DIRECTORY
    meaning = meaning_of(name)
    return meaning.format if isinstance(meaning, Archive) else Format.UNKNOWN


def _gone(outcome: Outcome) -> Upload | Marker:
    if outcome.action is Action.DEPLOY:
        return Upload(outcome.upload, Format.UNKNOWN, NOWHERE)
    return Marker(outcome.upload, outcome.action, NOWHERE)
