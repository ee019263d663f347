"""Puts things into a drop directory as any careful uploader does: under an invisible name first, then renamed."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

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
from dropdeploy.model import App

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
    with _drop_directory(app):
        for ending in (META,) if is_directory else (META, SHA256, SIGNATURE):
            sidecar = source.with_name(name + ending)
            if sidecar.is_file():
                _drop_file(sidecar, app.drop / sidecar.name)
        (_drop_tree if is_directory else _drop_file)(source, app.drop / name)
        if is_directory or app.accept.completion == "ready":
            _drop_text("", app.drop / (name + READY))


def missing_sidecar(app: App, file: Path) -> str | None:
    """What this app requires beside FILE and is not there, as a sentence that says how to make it."""
    if app.accept.checksum == "required" and not Path(f"{file}{SHA256}").is_file():
        return f"{app.name} requires a checksum: make it with `sha256sum {file} > {file}{SHA256}`"
    if app.accept.signature == "required" and not Path(f"{file}{SIGNATURE}").is_file():
        return f"{app.name} requires a signature: make it with `ssh-keygen -Y sign -n dropdeploy -f KEY {file}`"
    return None


def drop_marker(app: App, marker: MarkerName, argument: str = "") -> None:
    """Ask for something by a marker."""
    with _drop_directory(app):
        _drop_text(f"{argument}\n" if argument else "", app.drop / marker)


def find_markers(app: App, marker: MarkerName) -> tuple[str, ...]:
    """The files that are this marker, in whatever spelling."""
    with _drop_directory(app):
        return tuple(sorted(name for name in os.listdir(app.drop) if meaning_of(name) is marker))


def remove_markers(app: App, marker: MarkerName) -> tuple[str, ...]:
    """Remove them all; returns their names."""
    names = find_markers(app, marker)
    with _drop_directory(app):
        for name in names:
            (app.drop / name).unlink(missing_ok=True)
    return names


# --- how it gets there -----------------------------------------------------------------------------------


def _drop_file(source: Path, target: Path) -> None:
    with _temporary(target) as temporary:
        _copy(source, temporary)
        os.replace(temporary, target)


def _drop_text(text: str, target: Path) -> None:
    with _temporary(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        os.replace(temporary, target)


def _drop_tree(source: Path, target: Path) -> None:
    """A directory cannot replace one that is not empty: what stands there is moved aside first, then removed."""
    with _temporary(target) as temporary, _temporary(target) as former:
        try:
            shutil.copytree(source, temporary, symlinks=True, copy_function=_copy)
        except shutil.Error as error:
            reasons = [f"{wrong}: {why}" for wrong, _, why in error.args[0]]
            raise Refusal(ExitCode.USAGE, *reasons) from error
        for directory, _, _ in os.walk(temporary):
            os.chmod(directory, 0o755)  # noqa: S103 - the agent must read it; the drop directory's own mode guards it
        if target.is_dir():
            os.rename(target, former)
        os.rename(temporary, target)


def _copy(source: str | Path, target: str | Path) -> None:
    """Bytes and the executable bit. The agent must be able to read it, whatever the mode here."""
    try:
        reading = open(source, "rb")  # noqa: SIM115 - closed by the `with` below; its failure is another sentence
    except OSError as error:
        raise _unreadable(Path(source), error) from error
    with reading, open(target, "xb") as writing:
        shutil.copyfileobj(reading, writing, 1024 * 1024)
        is_executable = os.fstat(reading.fileno()).st_mode & 0o100
        os.fchmod(writing.fileno(), 0o755 if is_executable else 0o644)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A name beside ``target`` that the agent does not see; nothing is left of it afterwards."""
    temporary = target.with_name(f".dropdeploy-{secrets.token_hex(6)}")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _unreadable(file: Path, error: OSError) -> Refusal:
    code = ExitCode.UNAVAILABLE if isinstance(error, PermissionError) else ExitCode.USAGE
    return Refusal(code, f"{file}: {error.strerror}")


@contextlib.contextmanager
def _drop_directory(app: App) -> Iterator[None]:
    """Translates what the drop directory may refuse."""
    try:
        yield
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
