"""Values to JSON and back: how deploys and outcomes are written down in the history.

Covers what the nouns are made of: frozen dataclasses, string enums, tuples, optionals, paths, aware datetimes and
unions of dataclasses (told apart by a ``"type"`` key). Keys that are missing take the field's default, so that an older
record can still be read; unknown keys are ignored, so that a newer one can.
"""

from __future__ import annotations

import dataclasses
import json
import types
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def dump(value: object) -> str:
    """One line of JSON."""
    return json.dumps(_encode(value), separators=(",", ":"))


def load(kind: type[T], text: str) -> T:
    """A ``kind`` from what ``dump`` wrote. Raises ValueError when the text is nothing of the sort."""
    try:
        decoded = _decode(kind, json.loads(text))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of {kind.__name__}: {error}") from error
    assert isinstance(decoded, kind)
    return decoded


def _encode(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot write down a {type(value).__name__}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, data: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), data)
    if origin is tuple:
        items = get_args(kind)
        if items[-1] is Ellipsis:
            return tuple(_decode(items[0], item) for item in data)
        return tuple(_decode(item_kind, item) for item_kind, item in zip(items, data, strict=True))
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]  # a dataclass that is no instance is a type
        fields = {field.name for field in dataclasses.fields(kind) if field.init} & data.keys()
        return kind(**{name: _decode(hints[name], data[name]) for name in fields})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is datetime:
        return datetime.fromisoformat(data)
    if kind is Path:
        return Path(data)
    if kind is float and isinstance(data, int):
        return float(data)
    if not isinstance(data, kind):
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data


def _decode_union(kinds: tuple[Any, ...], data: Any) -> Any:
    if data is None and types.NoneType in kinds:
        return None
    candidates = [kind for kind in kinds if kind is not types.NoneType]
    if len(candidates) == 1:
        return _decode(candidates[0], data)
    by_name = {kind.__name__: kind for kind in candidates}
    return _decode(by_name[data["type"]], data)
