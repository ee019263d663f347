"""What a look into a drop directory finds: values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dropdeploy.model.request import Version


class Closed(StrEnum):
    """Whether anybody has a file open for writing; UNKNOWN where the kernel cannot be asked."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class EntryKind(StrEnum):
    """What stands under a name. OTHER: a link, a device, a FIFO, a socket."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One visible name in the drop directory. ``text`` is the first line of a marker."""

    name: str
    kind: EntryKind
    version: Version
    closed: Closed = Closed.UNKNOWN
    text: str = ""
