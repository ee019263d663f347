"""What a command works on: the configuration and its apps."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.config.directory import read_config
from dropdeploy.config.parse import Mistake
from dropdeploy.model.app import App
from dropdeploy.model.config import Config


def load(directory: Path) -> Config:
    """The configuration, or a Refusal with every mistake in it."""
    found = read_config(directory.absolute())
    if isinstance(found, Config):
        return found
    is_hidden = any(map(blames_permission, found))
    raise Refusal(ExitCode.UNAVAILABLE if is_hidden else ExitCode.USAGE, *map(str, found))


def blames_permission(mistake: Mistake) -> bool:
    """The file is there, and this user may not read it."""
    return os.path.exists(mistake.file) and not os.access(mistake.file, os.R_OK)


def find_app(config: Config, name: str) -> App:
    """The app of this name, or a Refusal that names the ones there are."""
    for app in config.apps:
        if app.name == name:
            return app
    known = [app.name for app in config.apps]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise Refusal(
        ExitCode.USAGE, f'there is no app "{name}": {hint}known: {", ".join(known) or "none, apps.d is empty"}'
    )


def apps_asked(config: Config, name: str | None) -> tuple[App, ...]:
    """The app of this name, or all of them."""
    return (find_app(config, name),) if name else config.apps
