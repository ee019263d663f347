"""Maps of sparse files in tar archives: GNU tar's old type S, and its pax forms 0.0, 0.1 and 1.0.   (pure)

See GNU tar's manual, "Storing Sparse Files". A map says where in the file the pieces go that the archive holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from dropdeploy.releases.fields import Pax, parse_decimal, parse_number
from dropdeploy.releases.refusal import corrupt, show, too_large

Extents = list[tuple[int, int]]
"""(offset, length), in ascending order."""

_MAX_EXTENTS = 100_000


def is_sparse(pax: Pax) -> bool:
    """Whether extended headers describe a sparse file."""
    return any(key.startswith(b"GNU.sparse.") for key in pax)


def parse_old_header(block: bytes) -> tuple[Extents, int, bool]:
    """From a header of type S: the first pieces, the file's size, and whether a block with more of them follows."""
    return _old_pieces(block[386:482]), parse_number(block[483:495]), bool(block[482])


def parse_old_block(block: bytes) -> tuple[Extents, bool]:
    """More pieces, and whether yet another block follows."""
    return _old_pieces(block[:504]), bool(block[504])


def _old_pieces(fields: bytes) -> Extents:
    found: Extents = []
    for start in range(0, len(fields), 24):
        if not fields[start + 12]:
            break
        found.append((parse_number(fields[start : start + 12]), parse_number(fields[start + 12 : start + 24])))
    return found


def parse_size(pax: Pax) -> int:
    """The size that the file will have."""
    return parse_decimal(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size", b""))


def parse_map(text: bytes) -> Extents:
    """Form 0.1 (and 0.0, see ``fields.parse_pax``): ``OFFSET,LENGTH,OFFSET,LENGTH…``."""
    return pair([parse_decimal(number) for number in text.split(b",")] if text else [])


def pair(numbers: Sequence[int]) -> Extents:
    """Offsets and lengths in turn."""
    if len(numbers) % 2:
        raise corrupt("the map of a sparse file is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def bound(count: int, name: bytes) -> None:
    """Refuse a map of that many pieces before it fills the memory."""
    if count > _MAX_EXTENTS:
        raise too_large(f"the sparse file {show(name)} has more than {_MAX_EXTENTS} pieces", "pack it without -S")


def verify(extents: Extents, size: int, stored: int, name: bytes) -> None:
    """Refuse a map that does not fit the file's size, or the data that is there."""
    end = 0
    for offset, length in extents:
        if offset < end:
            raise corrupt(f"the map of the sparse file {show(name)} is malformed")
        end = offset + length
    if end > size or sum(length for _, length in extents) != stored:
        raise corrupt(f"the map of the sparse file {show(name)} does not fit its size")
