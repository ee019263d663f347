"""An upload on its way to being a release: what the unpacker gets, tells meanwhile, and made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dropdeploy.model.request import Format


@dataclass(frozen=True, slots=True)
class Source:
    """An upload as the unpacker gets it: an open descriptor, never a name that could be changed meanwhile.

    ``fd`` is read-only, a file at offset 0 or a directory (``Format.DIRECTORY``); ``size`` is the file's, in bytes.
    ``tap`` is the writing end of a pipe that wants a copy of every byte of the file, in order, or None.
    """

    fd: int
    format: Format
    size: int
    tap: int | None = None


Percent = Callable[[float], None]
"""Told how far a step is, 0 to 100. Called on the event loop, a few times a second at most."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What the unpacker made of an upload. ``sha256`` is over the bytes read; empty for a directory.

    ``is_sealed``: a checksum in the format covers all of it, so it cannot be made of two uploads. ``shared_bytes`` of
    ``unpacked_bytes`` are stored once with the release before.
    """

    bytes: int
    sha256: str
    entries: int
    unpacked_bytes: int
    is_sealed: bool = True
    shared_bytes: int = 0
