"""Zstandard with an end that is proven, and with bounded memory.

zstandard's own objects do neither: a reader takes a cut frame for a short one, and one call of a decompressor
turns 64 KiB of input into up to 2 GiB. So the frames' structure (RFC 8878, section 3.1) is followed here, and the
library gets a few blocks at a time, each of which stands for at most 128 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from dropdeploy.releases.decoding import MEMORY, Decoder, looks_like, looks_like_tar
from dropdeploy.releases.refusal import UNSUPPORTED, Refusal, corrupt, show_size, truncated

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f
_BLOCKS = 8  # a MiB decompressed, at most
_LARGE_WINDOW = 64 << 20
_LARGE_WINDOW_BLOCKS = 2  # `zstd --ultra -22` has the library keep 128 MiB: there is little left for what is on its way

# What the bytes at hand are.
_FRAME, _SKIPPED, _BLOCK, _BODY, _CHECKSUM = range(5)


class Zstd(Decoder):
    """RFC 8878. Frames may follow each other; skippable ones are passed over. No padding."""

    def __init__(self) -> None:
        self._state = _FRAME
        self._held = b""
        self._left = 0  # bytes of a block, a skippable frame or a checksum to come
        self._is_last = False
        self._has_checksum = False
        self._frames = 0
        self._blocks = 0
        self._most_blocks = _BLOCKS
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        data = self._held + data
        self._held = b""
        start = pos = 0  # data[start:pos] belongs to the frame and was not handed over yet
        while pos < len(data):
            if self._state == _FRAME:
                length = self._begin(data[pos : pos + 512])
            elif self._state == _BLOCK:
                length = self._block(data[pos : pos + 3])
            else:
                length = min(self._left, len(data) - pos)
                self._left -= length
            if length is None:  # a header is cut: wait for the rest of it
                self._held = data[pos:]
                break
            pos += length
            if self._state == _SKIPPED:
                start = pos
            if self._left:
                continue
            ended = self._advance()
            if ended or self._blocks == self._most_blocks:
                yield from self._decode(data[start:pos], is_end=ended)
                start = pos
                self._blocks = 0
        yield from self._decode(data[start:pos], is_end=False)

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._state != _FRAME or self._held:
            raise truncated("it ends in the middle of a zstd frame")
        if not self._frames:
            raise truncated("it is empty")
        self.is_sealed = self._frames == 1 and self._has_checksum

    def _advance(self) -> bool:
        """A piece of the structure is complete: what comes next. True at the end of a frame with content."""
        if self._state == _SKIPPED:
            self._state = _FRAME
        elif self._state == _BODY:
            if not self._is_last:
                self._state = _BLOCK
            elif self._has_checksum:
                self._state = _CHECKSUM
                self._left = 4
            else:
                self._state = _FRAME
                return True
        elif self._state == _CHECKSUM:
            self._state = _FRAME
            return True
        return False

    def _begin(self, head: bytes) -> int | None:
        """A frame's header: its length, None while it is cut."""
        if head[0] & 0xF0 == 0x50 and _SKIPPABLE.startswith(head[1:4]):
            if len(head) < 8:
                return None
            self._left = int.from_bytes(head[4:8], "little")
            self._state = _SKIPPED
            return 8
        if not _MAGIC.startswith(head[:4]):
            if self._frames:
                raise corrupt("something follows the end of the zstd frame")
            raise corrupt(f"it is not a zstd stream{looks_like(head) or looks_like_tar(head)}")
        if len(head) < 5:
            return None
        flags = head[4]
        is_single = bool(flags & 0x20)
        id_size = (0, 1, 2, 4)[flags & 3]
        size_size = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
        length = 5 + (not is_single) + id_size + size_size
        if len(head) < length:
            return None
        if any(head[length - size_size - id_size : length - size_size]):
            raise Refusal(UNSUPPORTED, "the zstd frame needs a dictionary", "pack it without zstd's -D")
        if is_single:
            window = int.from_bytes(head[length - size_size : length], "little") + (256 if size_size == 2 else 0)
        else:
            window = (8 + (head[5] & 7)) << (7 + (head[5] >> 3))
        if window > MEMORY:
            raise Refusal(
                UNSUPPORTED,
                f"the zstd frame needs {show_size(window)} of memory to unpack; {show_size(MEMORY)} are allowed",
                "pack it without zstd's --long, or with --long=27 at most",
            )
        self._most_blocks = _BLOCKS if window <= _LARGE_WINDOW else _LARGE_WINDOW_BLOCKS
        self._has_checksum = bool(flags & 4)
        self._frames += 1
        self._frame = zstandard.ZstdDecompressor(max_window_size=MEMORY).decompressobj()
        self._state = _BLOCK
        return length

    def _block(self, head: bytes) -> int | None:
        """A block's header: its length, None while it is cut."""
        if len(head) < 3:
            return None
        value = int.from_bytes(head, "little")
        kind = value >> 1 & 3
        if kind == 3:
            raise corrupt("the zstd stream is damaged (a block of a reserved type)")
        self._is_last = bool(value & 1)
        self._left = 1 if kind == 1 else value >> 3
        self._state = _BODY
        self._blocks += 1
        return 3

    def _decode(self, data: bytes, *, is_end: bool) -> Iterator[bytes]:
        if self._frame is None:
            return
        try:
            if data:
                yield self._frame.decompress(data)
        except zstandard.ZstdError as error:
            raise corrupt(f"the zstd stream is damaged ({error})") from error
        if is_end:
            if not self._frame.eof:
                raise corrupt("the zstd stream is damaged (its content is longer than its frame)")
            self._frame = None
