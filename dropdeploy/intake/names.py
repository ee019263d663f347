"""Which file name in a drop directory means what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from dropdeploy.model.request import Format

FORMATS: tuple[tuple[str, Format], ...] = (
    (".tar.gz", Format.TAR_GZ),
    (".tgz", Format.TAR_GZ),
    (".tar.xz", Format.TAR_XZ),
    (".txz", Format.TAR_XZ),
    (".tar.bz2", Format.TAR_BZ2),
    (".tbz2", Format.TAR_BZ2),
    (".tar.zst", Format.TAR_ZST),
    (".tzst", Format.TAR_ZST),
    (".tar", Format.TAR),
    (".zip", Format.ZIP),
)

READY = ".ready"
SHA256 = ".sha256"
SIGNATURE = ".sig"
META = ".meta.toml"
SIDECARS = (READY, SHA256, SIGNATURE, META)

RESULT = ".result.toml"
DEPLOYING = ".deploying"
STATUS_FILE = "status.toml"

_TEMPORARY = re.compile(r"\.(filepart|part|partial|tmp|swp)$|~$", re.IGNORECASE)


class MarkerName(StrEnum):
    """A file whose mere presence asks for something."""

    ROLLBACK = "rollback"
    RESTART = "restart"
    HOLD = "hold"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Archive:
    """A build packed in one file."""

    format: Format


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file that says something about upload ``of``; ``ending`` is one of SIDECARS."""

    ending: str
    of: str


@dataclass(frozen=True, slots=True)
class Invisible:
    """Dot files, clients' temporary files: not there."""


@dataclass(frozen=True, slots=True)
class Own:
    """What the agent writes."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing that the drop protocol knows; a directory of such a name is an upload all the same."""


Meaning = Archive | Sidecar | MarkerName | Invisible | Own | Unknown


def meaning_of(name: str) -> Meaning:
    """What a file of this name is to the drop protocol."""
    if name.startswith(".") or _TEMPORARY.search(name):
        return Invisible()
    if name.endswith((RESULT, DEPLOYING)) or name in (STATUS_FILE, "status.html"):
        return Own()
    for ending in SIDECARS:
        if name.endswith(ending) and len(name) > len(ending):
            return Sidecar(ending, name.removesuffix(ending))
    marker = name.lower().removesuffix(".txt")
    if marker in frozenset(MarkerName):
        return MarkerName(marker)
    lowered = name.lower()
    for ending, archive_format in FORMATS:
        if lowered.endswith(ending) and len(name) > len(ending):
            return Archive(archive_format)
    return Unknown()
