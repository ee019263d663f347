"""What is asked for: an upload or a marker in the drop directory, and the answer that it got."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """What was asked for."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RESTART = "restart"


class Format(StrEnum):
    """What an upload is, told by its name; the value is the canonical ending."""

    TAR = ".tar"
    TAR_GZ = ".tar.gz"
    TAR_XZ = ".tar.xz"
    TAR_BZ2 = ".tar.bz2"
    TAR_ZST = ".tar.zst"
    ZIP = ".zip"
    DIRECTORY = "/"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes stand under a name: another inode, size or time of change is another upload.

    From stat(2). ``changed_ns`` is the ctime, which no client can set back. ``device`` is for the reader: a reboot or
    a new mount gives the same file system another number (overlay, btrfs, device mapper), and the bytes are the same.
    ``mode`` is there to tell what has changed.
    """

    device: int = field(compare=False)
    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    mode: int = field(default=0, compare=False)


NOWHERE = Version(0, 0, 0, 0, 0)
"""Of no file there is: what is remembered with it is answered by name only."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file or directory in the drop directory that is to become a release.

    ``go`` is the version of ``NAME.ready`` that asked for it, if one did. ``sidecars`` are the files that belong to
    it and were there when it was taken, by ending (``.sha256``, ``.sig``, ``.meta.toml``), in order of ending.
    ``is_pieced``: it was closed once and written to again, so that it may be made of two builds.
    """

    name: str
    format: Format
    version: Version
    go: Version | None = None
    sidecars: tuple[tuple[str, Version], ...] = ()
    is_pieced: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """``rollback`` or ``restart`` as found. ``argument`` is its one line, stripped: a release id or empty."""

    name: str
    action: Action
    version: Version
    argument: str = ""


class Fate(StrEnum):
    """What becomes of an upload that has its verdict: it stays, is to be deleted once it is quiet, or was deleted."""

    STAYS = "stays"
    GOES = "goes"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """The request under a name that has its verdict; ``reopens``: a changed sidecar is a reason to judge it anew.

    ``sha256`` is of the bytes that were judged, "" where none were.
    """

    request: Upload | Marker
    reopens: bool = False
    sha256: str = ""
    fate: Fate = Fate.STAYS
