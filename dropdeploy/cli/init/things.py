"""The things on a server that an app's deploys need: values that say how one is, or is wanted.

A thing's ``place`` is what it is called; two things of one kind and place are the same thing in two states.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Need(StrEnum):
    """What a directory that is there already must fulfil; one that is missing is made exactly as it is wanted."""

    EXIST = "exist"
    MATCH = "match"  # its owner, its group, and at least the bits of its mode
    ROOT_ONLY = "root-only"  # root's, and nobody else writes there: sshd(8) insists on it for a chroot


@dataclass(frozen=True, slots=True)
class Account:
    """A system user without a login, in a group of the same name (useradd(8))."""

    name: str
    home: str
    shell: str = "/usr/sbin/nologin"

    @property
    def place(self) -> str:
        """What it is called."""
        return f"user {self.name}"


@dataclass(frozen=True, slots=True)
class Group:
    """A system group."""

    name: str

    @property
    def place(self) -> str:
        """What it is called."""
        return f"group {self.name}"


@dataclass(frozen=True, slots=True)
class Membership:
    """A user in a supplementary group."""

    user: str
    group: str

    @property
    def place(self) -> str:
        """What it is called."""
        return f"member {self.user} of {self.group}"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, its owner and group by name. ``disposable``: names in it that may go with it."""

    path: Path
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755
    need: Need = Need.EXIST
    disposable: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What it is called."""
        return f"directory {self.path}"


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's."""

    path: Path
    text: str
    group: str = "root"
    mode: int = 0o644

    @property
    def place(self) -> str:
        """What it is called."""
        return f"file {self.path}"


@dataclass(frozen=True, slots=True)
class Enabled:
    """A unit that is started with the machine."""

    unit: str

    @property
    def place(self) -> str:
        """What it is called."""
        return f"enabled {self.unit}"


Thing = Account | Group | Membership | Directory | File | Enabled
