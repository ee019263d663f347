"""The units of an app, made from the templates of contrib/apps (pure).

What every kind of app has in common is written once: five units, and ``service.in``, which the three services share.
A kind adds one piece, ``KIND/run.in``: how it is started.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("node", "gunicorn", "uvicorn", "python", "program")

_RELEASE: Final = "@ROOT@/releases/%i"
# Template → what it has of its own: where the service works, and on which socket.
_TEMPLATES: Final[dict[str, dict[str, str]]] = {
    "app.socket": {},
    "app.service": {"DIRECTORY": "@ROOT@/app", "SOCKET": "@APP@.socket"},
    "app@.service": {"DIRECTORY": _RELEASE, "SOCKET": "@APP@.socket"},
    "app-trial.socket": {},
    "app-trial@.service": {"DIRECTORY": _RELEASE, "SOCKET": "@APP@-trial.socket"},
}
_PLACEHOLDER: Final = re.compile(r"@([A-Z]+)@")


@dataclass(frozen=True)
class AppUnits:
    """What is particular about one app's units.

    ``root``: its directory; ``user``: who runs it; ``port``: where it listens on loopback; ``share``: the directory
    with the templates' other files; ``idle_grace_s``: seconds for which a stopping instance keeps connections that are
    idle. With a successor on the same socket nobody waits for that; without one (strategy "restart") everybody does.
    """

    kind: str
    app: str
    root: str
    user: str
    port: int
    share: str
    idle_grace_s: float = 5


def render_units(units: AppUnits, read: Callable[[str], str]) -> dict[str, str]:
    """Unit file names and their texts. ``read`` gets the name of a template, such as "app.socket.in".

    Raises ValueError for a kind that is none, for a value that no unit file can hold, and for a template with a
    placeholder that has no value.
    """
    if units.kind not in KINDS:
        raise ValueError(f'no such kind of app: "{units.kind}"; there are {", ".join(KINDS)}')
    values = {
        "APP": units.app,
        "ROOT": _escaped(units.root),
        "USER": units.user,
        "PORT": str(units.port),
        "SHARE": _escaped(units.share),
        "IDLE": f"{units.idle_grace_s:g}",
        "RUN": read(f"{units.kind}/run.in").rstrip("\n"),
        "SERVICE": read("service.in").rstrip("\n"),
    }
    return {
        units.app + template.removeprefix("app"): _filled(read(f"{template}.in"), values | own)
        for template, own in _TEMPLATES.items()
    }


def _filled(text: str, values: dict[str, str]) -> str:
    """Placeholders of placeholders too."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"a template has {match[0]}, for which there is no value")
        return _filled(values[match[1]], values)

    return _PLACEHOLDER.sub(value, text)


def _escaped(path: str) -> str:
    """A path for a unit file, where ``%`` begins a specifier (systemd.unit(5))."""
    if re.search(r"[\s\"'\\$@]", path):
        raise ValueError(f'"{path}" cannot stand in a unit file: no spaces, quotes, backslashes, "$" and "@"')
    return path.replace("%", "%%")
