"""Text from strangers (file names, an app's log, a meta file) made fit to be shown: in a file, a terminal or a page."""

from __future__ import annotations

import re

MAX_LINE = 1000
MAX_LOG = 16_000

# ECMA-48 control sequences (colours, mostly) and operating system commands; they carry no text.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?")
# Control characters, separators that some readers take for a new line, marks that reverse the direction of writing, and
# lone surrogates: bytes of names that are not UTF-8 (PEP 383).
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """``text`` without terminal sequences, and with what else is unfit spelt out, as ``\\x07``; lines stay lines."""
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _UNFIT.sub(_spell, text)


def one_line(text: str) -> str:
    """As ``harmless``, in one line of at most ``MAX_LINE`` characters."""
    line = harmless(text).replace("\n", " ").replace("\t", " ").strip()
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 1]}…"


def end_of_log(text: str) -> str:
    """The last ``MAX_LOG`` characters or so of a log, in whole lines of at most ``MAX_LINE``."""
    lines = [line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 1]}…" for line in harmless(text).split("\n")]
    kept, size = 0, 0
    for line in reversed(lines):
        size += len(line) + 1
        if size > MAX_LOG:
            break
        kept += 1
    cut = len(lines) - kept
    return "\n".join(([f"[{cut} earlier lines left out]"] if cut else []) + lines[cut:])


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
