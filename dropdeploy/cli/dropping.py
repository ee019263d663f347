"""Puts things into a drop directory as any careful uploader does: under an invisible name first, then renamed."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.placing import CopyError, SharedDirectory
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.intake.names import (
    FORMATS,
    META,
    READY,
    SHA256,
    SIGNATURE,
    Archive,
    MarkerName,
    Unknown,
    meaning_of,
)
from dropdeploy.model.app import App

ENDINGS = ", ".join(ending for ending, _ in FORMATS)


def upload_name(file: Path) -> str:
    """The name under which FILE is dropped, or a Refusal: it is not there, or it is no build."""
    path = file.absolute()
    name = os.path.basename(os.path.normpath(path))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(file, error) from error
    meaning = meaning_of(name)
    if stat.S_ISDIR(mode):
        if not isinstance(meaning, Archive | Unknown):
            raise Refusal(ExitCode.USAGE, f"{file}: a build cannot have this name; rename the directory")
    elif not stat.S_ISREG(mode):
        raise Refusal(ExitCode.USAGE, f"{file}: neither a file nor a directory")
    elif not isinstance(meaning, Archive):
        raise Refusal(ExitCode.USAGE, f"{file}: not a build; expected a directory, or a file that ends in {ENDINGS}")
    return name


def drop_build(app: App, file: Path) -> None:
    """Copy FILE into the drop directory, with the sidecars that stand beside it, and ``.ready`` where one is needed.

    The upload appears last but for ``.ready``: the agent never sees it without what belongs to it.
    """
    name = upload_name(file)
    is_directory = file.is_dir()
    source = Path(os.path.normpath(file.absolute()))
    with _drop_directory(app) as drop:
        for ending in (META,) if is_directory else (META, SHA256, SIGNATURE):
            sidecar = source.with_name(name + ending)
            if sidecar.is_file():
                drop.put_file(sidecar, sidecar.name)
        (drop.put_tree if is_directory else drop.put_file)(source, name)
        if is_directory or app.accept.completion == "ready":
            drop.put_text("", name + READY)


def missing_sidecar(app: App, file: Path) -> str | None:
    """What this app requires beside FILE and is not there, as a sentence that says how to make it."""
    if app.accept.checksum == "required" and not Path(f"{file}{SHA256}").is_file():
        return f"{app.name} requires a checksum: make it with `sha256sum {file} > {file}{SHA256}`"
    if app.accept.signature == "required" and not Path(f"{file}{SIGNATURE}").is_file():
        return f"{app.name} requires a signature: make it with `ssh-keygen -Y sign -n dropdeploy -f KEY {file}`"
    return None


def drop_marker(app: App, marker: MarkerName, argument: str = "") -> None:
    """Ask for something by a marker."""
    with _drop_directory(app) as drop:
        drop.put_text(f"{argument}\n" if argument else "", marker)


def find_markers(app: App, marker: MarkerName) -> tuple[str, ...]:
    """The files that are this marker, in whatever spelling."""
    with _drop_directory(app) as drop:
        return tuple(sorted(name for name in drop.names() if meaning_of(name) is marker))


def remove_markers(app: App, marker: MarkerName) -> tuple[str, ...]:
    """Remove them all; returns their names."""
    names = find_markers(app, marker)
    with _drop_directory(app) as drop:
        for name in names:
            drop.remove(name)
    return names


# --- what may go wrong -------------------------------------------------------------------------------------


def _unreadable(file: Path, error: OSError) -> Refusal:
    code = ExitCode.UNAVAILABLE if isinstance(error, PermissionError) else ExitCode.USAGE
    return Refusal(code, f"{file}: {error.strerror}")


@contextlib.contextmanager
def _drop_directory(app: App) -> Iterator[SharedDirectory]:
    """The drop directory, open; what it may refuse, and what cannot be copied there, is a Refusal."""
    try:
        with SharedDirectory.open(app.drop) as drop:
            yield drop
    except CopyError as error:
        raise Refusal(ExitCode.UNAVAILABLE if error.is_denied else ExitCode.USAGE, *error.reasons) from error
    except FileNotFoundError as error:
        if app.drop.is_dir():
            raise
        message = f"{app.name}: there is no drop directory {app.drop}; `dropdeploy check` tells what else is missing"
        raise Refusal(ExitCode.USAGE, message) from error
    except PermissionError as error:
        raise Refusal(ExitCode.UNAVAILABLE, *_permission_lines(app)) from error
    except OSError as error:
        raise Refusal(ExitCode.NOT_DEPLOYED, f"{app.drop}: {error.strerror}; nothing was dropped") from error


def _permission_lines(app: App) -> Iterator[str]:
    user = getpass.getuser()
    yield f"{app.name}: {user} may not write in {app.drop}"
    try:
        status = app.drop.stat()
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        yield "run this as root, or as a user who may upload there"
        return
    join = f", or once `usermod -aG {group} {user}` and log in again" if status.st_mode & stat.S_IWGRP else ""
    yield f"it belongs to {owner}:{group} ({stat.filemode(status.st_mode)}): run this as root{join}"
