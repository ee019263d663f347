"""Reading a sequence of chunks as if it were one run of bytes.   (pure)"""

from __future__ import annotations

from collections.abc import Iterable

_ZEROS = bytes(1 << 20)


class Cursor:
    """A place in the bytes that ``chunks`` yields. ``position`` counts from the first byte.

    Nothing is kept of what was passed, so memory is bounded by the chunks' own size.
    """

    __slots__ = ("_chunk", "_chunks", "_end", "_pos", "_start")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._start = 0
        self._pos = 0
        self._end = 0

    @property
    def position(self) -> int:
        """How many bytes were passed."""
        return self._start + self._pos

    def _next_chunk(self) -> bool:
        self._start += self._end
        self._pos = self._end = 0
        self._chunk = b""
        for chunk in self._chunks:
            if chunk:
                self._chunk = chunk
                self._end = len(chunk)
                return True
        return False

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer only where the bytes end."""
        start = self._pos
        end = start + count
        if end <= self._end:
            self._pos = end
            return self._chunk[start:end]
        parts = []
        while count and (piece := self.piece(count)):
            parts.append(piece)
            count -= len(piece)
        return b"".join(parts)

    def piece(self, most: int) -> memoryview | bytes:
        """At least one and at most ``most`` of the next bytes, uncopied; empty where the bytes end."""
        if self._pos == self._end and not self._next_chunk():
            return b""
        start = self._pos
        self._pos = end = min(start + most, self._end)
        return memoryview(self._chunk)[start:end]

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; returns how many of them were missing."""
        while count:
            if self._pos == self._end and not self._next_chunk():
                break
            step = min(count, self._end - self._pos)
            self._pos += step
            count -= step
        return count

    def skip_zeros(self, most: int) -> bool:
        """Pass over all that follows, to the end. False if it holds anything but zeros, or more than ``most``."""
        while piece := self.piece(len(_ZEROS)):
            most -= len(piece)
            if most < 0 or piece != memoryview(_ZEROS)[: len(piece)]:
                return False
        return True
