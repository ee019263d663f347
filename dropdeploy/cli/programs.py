"""The system's own programs, run to their end."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


def tell(*command: str, given: str = "", timeout_s: float = _ANSWER_S) -> Told:
    """Run a program that reads ``given``; one that is not there ends with 127, one that does not end with 124."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # some users' lacks where useradd(8) and sshd(8) are
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            env={**os.environ, "PATH": path},
        )
    except FileNotFoundError:
        return Told(127, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Told(124, "", f"{command[0]} did not end within {timeout_s:g} s")
    return Told(done.returncode, done.stdout, done.stderr)
