"""The database: opened, seen to be sound, and brought up to the schema that this version knows."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from dropdeploy.history.failure import HistoryError, UnfitHistoryError, damaged, is_damage

HISTORY_NAME = "history.db"
"""The database's name in the state directory."""

SCHEMA = (
    """
CREATE TABLE deploys (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    app      TEXT NOT NULL,
    action   TEXT NOT NULL,
    upload   TEXT NOT NULL,
    started  TEXT NOT NULL,
    status   TEXT,             -- null while it is not decided
    intent   TEXT,             -- the state before the effect in progress; null once decided
    request  TEXT NOT NULL,    -- the upload or marker
    outcome  TEXT,
    reported INTEGER NOT NULL DEFAULT 0  -- the result file is written and the upload is cleared away
);
CREATE INDEX deploys_by_app ON deploys (app, id);
CREATE INDEX deploys_open ON deploys (reported) WHERE reported = 0;
CREATE TABLE releases (
    app TEXT NOT NULL, release TEXT NOT NULL, healthy INTEGER, deploy INTEGER,
    PRIMARY KEY (app, release)
) WITHOUT ROWID;
CREATE TABLE answered (
    app TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, reopens INTEGER NOT NULL, deploy INTEGER NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
""",
    """
CREATE TABLE outbox (          -- verdicts that somebody is still to be told
    deploy INTEGER NOT NULL, app TEXT NOT NULL,
    channel TEXT NOT NULL,     -- webhook | email
    tries   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (deploy, channel)
) WITHOUT ROWID;
""",
)
"""Each version of the schema is a change of the one before it, and its number is the database's ``user_version``: what
an older version wrote is brought up step by step. A step that was released is never edited."""

SCHEMA_VERSION = len(SCHEMA)


def open_database(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection, for one thread at a time; unless ``read_only``, the file is made when missing. Raises HistoryError;
    where setting the file aside would help, its subclass UnfitHistoryError."""
    try:
        return _connect(path, read_only)
    except (sqlite3.Error, OSError) as error:
        if is_damage(error):
            raise damaged(path, error) from error
        raise HistoryError(f"{path}: {error}; {_remedy(path, read_only)}") from error


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        # Metadata of uploads may be confidential; SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640))
    mode = "ro" if read_only else "rw"
    db = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
    try:
        prepare(db, path, read_only)
    except BaseException:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: Path, read_only: bool) -> None:
    """Set the database up, see that it is sound, and make the tables that it lacks."""
    db.execute("PRAGMA busy_timeout = 5000")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    # The commands may be newer than the agent that runs, and read what it writes as it is.
    if version > SCHEMA_VERSION or (version == 0 and read_only):
        raise UnfitHistoryError(
            f"{path} has schema {version}, this dropdeploy knows {SCHEMA_VERSION}", f"schema-{version}"
        )
    if read_only:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if version > 0:
        # What is wrong is found now, and not in the middle of a deploy. It takes 1 ms for each 100 deploys or so.
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged(path, found)
    for number, change in enumerate(SCHEMA[version:], version + 1):
        db.executescript(f"BEGIN; {change} PRAGMA user_version = {number}; COMMIT;")


def _remedy(path: Path, read_only: bool) -> str:
    if not read_only:
        return f"the agent must be able to write in {path.parent}, and the disk must not be full"
    return "it is made by the agent when it first runs; to read it, be root or the agent's user"
