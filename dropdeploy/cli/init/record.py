"""What ``init`` made for each app: ``<configuration>/init/<app>.json``.

Beside the configuration and not in the state directory, because that is the agent's: whoever has taken over the agent
must not tell root what to take back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dropdeploy import record
from dropdeploy.cli.init.things import Thing
from dropdeploy.cli.refusal import ExitCode, Refusal

RECORDS = "init"


@dataclass(frozen=True, slots=True)
class Record:
    """``made``: things in the order of their making; ``needs``: places of all that the app needs, made or not."""

    made: tuple[Thing, ...] = ()
    needs: tuple[str, ...] = ()


def read_record(directory: Path, app: str) -> Record:
    """The app's record, an empty one where there is none. Raises a Refusal where it cannot be trusted."""
    path = directory / RECORDS / f"{app}.json"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Record()
    except PermissionError:
        raise Refusal(ExitCode.UNAVAILABLE, f"{path} may not be read: run this as root") from None
    for each in (path, path.parent):
        status = each.stat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise Refusal(
                ExitCode.USAGE, f"{each} must belong to root and be writable for nobody else, or it could say anything"
            )
    try:
        return record.load(Record, text)
    except ValueError as error:
        raise Refusal(ExitCode.USAGE, f"{path} is no record of `dropdeploy init`: {error}") from error


def write_record(directory: Path, app: str, kept: Record) -> None:
    """Replace the app's record; remove it when nothing is left to take back and nothing is needed."""
    path = directory / RECORDS / f"{app}.json"
    if not kept.made and not kept.needs:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not os.listdir(path.parent):
            path.parent.rmdir()
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_file(path, record.dump(kept) + "\n", 0o600)


def write_file(path: Path, text: str, mode: int, gid: int = 0) -> None:
    """Write a file of root's whole, or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w") as file:
        file.write(text)
        os.fchown(fd, 0, gid)
        os.fchmod(fd, mode)
        file.flush()
        os.fsync(fd)
    new.rename(path)


def other_records(directory: Path, app: str) -> dict[str, Record]:
    """The other apps' records."""
    names = sorted(path.stem for path in (directory / RECORDS).glob("*.json"))
    return {name: read_record(directory, name) for name in names if name != app}
