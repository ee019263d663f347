"""The configuration directory: its files read, and the directories that it names looked at."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

from dropdeploy.config.claims import Claim, path_claims
from dropdeploy.config.files import APPS_DIRECTORY, MAIN_FILE, is_app_file
from dropdeploy.config.identity import identity_of
from dropdeploy.config.parse import Mistake, SourceText, conflict_mistakes, survey_config
from dropdeploy.config.values import Expected
from dropdeploy.model.app import Strategy
from dropdeploy.model.config import Bus, Config

MAX_FILE_BYTES = 1024 * 1024
MAX_TOKEN = 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,1024}")  # RFC 6750, 2.1


def read_config(directory: Path) -> Config | tuple[Mistake, ...]:
    """``dropdeploy.toml`` (may be absent) and ``apps.d/*.toml`` of ``directory``, or every mistake in them."""
    config, mistakes = survey_directory(directory)
    return mistakes or config


def survey_directory(directory: Path) -> tuple[Config, tuple[Mistake, ...]]:
    """What is right in those files, and every mistake in them.

    Which files are read says ``is_app_file``.
    """
    apps_directory = directory / APPS_DIRECTORY
    names = _list_names(directory, apps_directory)
    paths = [os.path.join(apps_directory, name) for name in names] if not isinstance(names, Mistake) else []
    main, *apps = [_read_text(path) for path in (os.path.join(directory, MAIN_FILE), *paths)]
    unread = tuple(found for found in (main, names, *apps) if isinstance(found, Mistake))
    config, mistakes = survey_config(
        main if isinstance(main, SourceText) else None, [source for source in apps if isinstance(source, SourceText)]
    )
    sources = {
        found.path.removeprefix(f"{directory}/"): found.identity
        for found in (main, *apps)
        if isinstance(found, SourceText) and found.identity
    }
    return replace(config, sources=sources), (*unread, *mistakes)


def check_paths(config: Config, directory: Path) -> tuple[Mistake, ...]:
    """What the file system says against the apps' directories: missing ones, and ones that are the same by another way.

    ``directory`` is the configuration directory, for the names of the files.
    """
    mistakes, missing = survey_paths(config, directory)
    return (*missing, *mistakes)


def survey_paths(config: Config, directory: Path) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """The same in two parts: what is wrong with the configuration, and what is not there (yet)."""
    mistakes: list[Mistake] = []
    missing: list[Mistake] = []
    token_file = config.settings.listen_token_file
    if token_file is not None and isinstance(token := read_token(token_file), Expected):
        mistakes.append(Mistake(str(directory / MAIN_FILE), "listen_token_file", f'"{token_file}"', token.text))
    claims: list[Claim] = []
    same: dict[tuple[int, int], Path] = {}
    parents: dict[str, str] = {}
    for app in config.apps:
        for claim in path_claims(app, f"{directory}/{APPS_DIRECTORY}/{app.name}.toml"):
            assert isinstance(claim.thing, Path)
            found = _look_at(claim.thing)
            if isinstance(found, str):
                missing.append(Mistake(claim.file, claim.key, f'"{claim.shown}"', found))
            else:
                # A bind mount has a real path of its own, and the same inode.
                identity = found.st_dev, found.st_ino
                if identity not in same:
                    same[identity] = Path(_real(claim.thing, parents))
                claims.append(replace(claim, thing=same[identity]))
    return (*mistakes, *conflict_mistakes(claims)), tuple(missing)


def _real(path: Path, parents: dict[str, str]) -> str:
    """As ``os.path.realpath`` of an absolute path. ``parents`` remembers the directories above, which apps share."""
    parent, name = os.path.split(path)
    if os.path.islink(path):
        return os.path.realpath(path)
    if parent not in parents:
        parents[parent] = os.path.realpath(parent)
    return os.path.join(parents[parent], name)


def read_token(path: Path) -> str | Expected:
    """What opens the status page: a file's one line."""
    try:
        token = path.read_bytes()[: MAX_TOKEN + 1].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "it is not text"
        return Expected(
            f"cannot be read: {reason}; `openssl rand -hex 32` makes a token, the agent must be able to read it"
        )
    if not _TOKEN.fullmatch(token):
        return Expected(
            "expected a token there, one line of 16 to 1024 letters and digits; `openssl rand -hex 32` makes one"
        )
    return token


def _look_at(path: Path) -> os.stat_result | str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "there is no such directory; create it, or name another"
    except OSError as error:
        return f"cannot be looked at: {_reason(error)}"
    return status if stat.S_ISDIR(status.st_mode) else "expected a directory, but it is none"


def _list_names(directory: Path, apps_directory: Path) -> list[str] | Mistake:
    try:
        return sorted(filter(is_app_file, os.listdir(apps_directory)))
    except FileNotFoundError:
        missing = apps_directory if directory.is_dir() else directory
        message = f"there is no such directory; create {apps_directory} with one file for each app, <app>.toml"
        return Mistake(str(missing), "", "", message)
    except NotADirectoryError:
        message = f"expected a directory; create {apps_directory} with one file for each app, <app>.toml"
        return Mistake(str(directory if directory.is_file() else apps_directory), "", "", message)
    except OSError as error:
        return Mistake(str(apps_directory), "", "", f"cannot be read: {_reason(error)}")


def _read_text(path: str) -> SourceText | Mistake | None:
    """The file's text; None when there is no such file. A FIFO or a device is not waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return Mistake(path, "", "", "expected a regular file, but it is none")
            if status.st_size > MAX_FILE_BYTES:
                return Mistake(path, "", "", f"expected at most {MAX_FILE_BYTES} bytes")
            with open(fd, "rb", buffering=0, closefd=False) as file:
                content = file.readall()
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        is_dangling = os.path.islink(path)
        return Mistake(path, "", "", "cannot be read: it is a link that leads nowhere") if is_dangling else None
    except OSError as error:
        return Mistake(path, "", "", f"cannot be read: {_reason(error)}")
    try:
        return SourceText(path, content.decode(), identity_of(status))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Mistake(path, "", "", f"line {line}: expected UTF-8, found the byte 0x{content[error.start]:02x}")


def _reason(error: OSError) -> str:
    return "permission denied" if error.errno in (errno.EACCES, errno.EPERM) else error.strerror or str(error)


def not_built_yet(config: Config, directory: Path) -> tuple[Mistake, ...]:
    """What the configuration's language has and this version has not: to ignore it would be worse than to refuse it."""
    mistakes: list[Mistake] = []
    for app in config.apps:
        if app.strategy is Strategy.HANDOVER and config.settings.bus is Bus.EMBEDDED:
            file = directory / APPS_DIRECTORY / f"{app.name}.toml"
            message = 'not available with bus = "embedded" yet; choose another, or have systemd run the app'
            mistakes.append(Mistake(str(file), "strategy", '"handover"', message))
    return tuple(mistakes)
