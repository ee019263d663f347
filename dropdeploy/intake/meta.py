"""What an uploader says about an upload: ``NAME.meta.toml``.   (pure)"""

from __future__ import annotations

import tomllib

from dropdeploy.model.fault import ErrorCode, Fault

SIDECAR_LIMIT = 64 * 1024
"""No sidecar is larger, in bytes."""


def parse_meta(name: str, content: bytes) -> tuple[tuple[str, str], ...] | Fault:
    """A flat table of strings, at most 64 KiB of TOML."""
    hint = 'a .meta.toml is a flat table of strings, e.g. commit = "1a2b3c4"'
    if len(content) > SIDECAR_LIMIT:
        return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name} is larger than 64 KiB", hint)
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name} is not TOML: {error}", hint)
    for key, value in table.items():
        if not isinstance(value, str):
            return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name}: the value of {key!r} is no string", hint)
    return tuple(table.items())
