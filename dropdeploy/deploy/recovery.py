"""What to do with a deploy that was interrupted: by a crash, a power cut, or the agent's being stopped.

The last intent tells which phase may have been begun, ended, or neither. Before the swap nothing of the live release
was touched: what was built is taken away, and the upload or marker, which is still there, is judged anew ("as before").
From the swap on the deploy carries on in the same phase, because each can be performed twice: it will end in a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dropdeploy.deploy.plan import BEFORE_SWAP, Deploy, Phase


class Course(StrEnum):
    """What becomes of it."""

    AS_BEFORE = "as before"
    CARRY_ON = "carry on"


COURSES: Mapping[Phase, Course] = {
    phase: Course.AS_BEFORE if phase in BEFORE_SWAP else Course.CARRY_ON for phase in Phase
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """``discard`` is the release that was being made, "" when none was."""

    course: Course
    discard: str = ""


def recover(state: Deploy) -> Recovery:
    """What to do with a deploy whose last written intent is ``state``."""
    course = COURSES[state.phase]
    is_own = Phase.EXTRACT in state.route
    return Recovery(course, state.release if course is Course.AS_BEFORE and is_own else "")
