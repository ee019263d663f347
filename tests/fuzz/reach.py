"""Which of many inputs are worth keeping: together they reach what all of them reach."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import WAYS, unpack

Step = tuple[str, int, int]
ROOM = os.sep + os.path.join("dropdeploy", "releases") + os.sep


def distil(inputs: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    """The inputs, small ones first, that each go where none before it went, or are answered as none was."""
    reached: set[object] = set()
    size = 0
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        reaches = reach(data)
        if not reaches <= reached and size + len(data) <= limit_bytes:
            reached |= reaches
            size += len(data)
            yield data


def reach(data: bytes) -> set[object]:
    """The steps from line to line of the unpacker's modules that an input takes, and its answer."""
    steps: set[Step] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if ROOM not in frame.f_code.co_filename:
            return None
        before = frame.f_lineno

        def trace_lines(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                steps.add((frame.f_code.co_filename, before, frame.f_lineno))
                before = frame.f_lineno
            return trace_lines

        return trace_lines

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            answer = unpack(data, Path(directory))
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]  # typeshed knows no end of it
    way = WAYS[data[0] % len(WAYS)] if data else ""
    return {*steps, (way, answer)}
