"""How a command ends: its exit codes, and what it says when it cannot do what it was asked."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    NOT_DEPLOYED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130  # as a shell reports a program that SIGINT ended


class Refusal(Exception):  # noqa: N818 - it is no defect of the program
    """Ends a command with this code, after these lines on standard error."""

    def __init__(self, code: ExitCode, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines
