"""The style sheet, the script and the icon, read once; their addresses change with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

KINDS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Static:
    """A file as it is served."""

    name: str
    kind: str
    content: bytes

    @property
    def address(self) -> str:
        """Another one for another content: browsers may keep it for ever."""
        return f"/static/{self.name}?{hashlib.sha256(self.content).hexdigest()[:12]}"


def read_statics() -> Mapping[str, Static]:
    """By name."""
    files = resources.files(__package__)
    return {name: Static(name, kind, files.joinpath(name).read_bytes()) for name, kind in KINDS.items()}
