"""The upload's bytes, read once: hashed, copied to the tap and decompressed, in a thread ahead of the reader."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator

from dropdeploy.releases.copying import write_all
from dropdeploy.releases.decoding import Decoder
from dropdeploy.releases.refusal import CHANGED, UNREADABLE, Refusal, show_size

_READ = 256 << 10  # large enough for hashlib and zlib to let the other thread run, small enough for the cache
_AHEAD = 6  # pieces of a MiB that wait for the reader


class Stream:
    """Yields what the ``size`` bytes of the file ``fd`` stand for, as ``decoder`` tells.

    ``tap`` is a pipe that gets a copy of the bytes as they are in the file; that its reader goes away is no error.
    ``on_read`` is told how many bytes were read, from the thread. Once the iterator has come to its end, ``sha256``
    is the digest of the file's bytes, and the decoder has agreed that they are a whole.
    """

    def __init__(self, fd: int, size: int, decoder: Decoder, tap: int | None, on_read: Callable[[int], None]) -> None:
        self.sha256 = ""
        self._fd = fd
        self._size = size
        self._decoder = decoder
        self._tap = tap
        self._on_read = on_read
        self._is_wanted = True
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)

    def __iter__(self) -> Iterator[bytes]:
        """Start, and yield the pieces in order; to be called once. What is refused is raised here."""
        threading.Thread(target=self._pump, name="stream", daemon=True).start()
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:  # a reader that refuses early must not leave the thread waiting
            self._is_wanted = False
            with contextlib.suppress(queue.Empty):
                while True:
                    self._pieces.get_nowait()

    def _pump(self) -> None:
        try:
            digest = hashlib.sha256()
            for data in self._read():
                digest.update(data)
                self._copy_to_tap(data)
                for piece in self._decoder.feed(data):
                    self._pieces.put(piece)
                    if not self._is_wanted:
                        return
            self._decoder.finish()
            self.sha256 = digest.hexdigest()
        except BaseException as error:
            self._pieces.put(error)
        else:
            self._pieces.put(None)

    def _read(self) -> Iterator[bytes]:
        """The file's bytes from its start, wherever others who share the descriptor have moved its offset."""
        done = 0
        while True:
            try:
                data = os.pread(self._fd, _READ, done)
            except OSError as error:
                raise Refusal(UNREADABLE, f"the upload cannot be read ({error.strerror})") from error
            if not data:
                break
            done += len(data)
            if done > self._size:
                break
            yield data
            self._on_read(done)
        if done != self._size:
            how = "longer" if done > self._size else f"{show_size(self._size - done)} shorter"
            raise Refusal(CHANGED, f"the upload became {how} while it was read")

    def _copy_to_tap(self, data: bytes) -> None:
        if self._tap is None:
            return
        try:
            write_all(self._tap, data)
        except BrokenPipeError:
            self._tap = None
