"""Why something did not succeed. The codes are a contract with scripts; dropdeploy(7) explains them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong, as scripts know it: ``[error] code`` of a result file."""

    UNSUPPORTED_UPLOAD = "unsupported-upload"
    UNREADABLE_UPLOAD = "unreadable-upload"
    CORRUPT_UPLOAD = "corrupt-upload"
    TRUNCATED_UPLOAD = "truncated-upload"
    UNSAFE_ENTRY = "unsafe-entry"
    TOO_LARGE = "too-large"
    CHECKSUM_MISSING = "checksum-missing"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_INVALID = "signature-invalid"
    CHANGED_WHILE_READING = "changed-while-reading"
    RATE_LIMITED = "rate-limited"
    NO_SPACE = "no-space"
    APP_NOT_FOUND = "app-not-found"
    APP_PATH_BLOCKED = "app-path-blocked"
    UNIT_NOT_FOUND = "unit-not-found"
    UNIT_MASKED = "unit-masked"
    NOT_AUTHORISED = "not-authorised"
    SHARED_MISSING = "shared-missing"
    HOOK_FAILED = "hook-failed"
    TRIAL_FAILED = "trial-failed"
    RESTART_FAILED = "restart-failed"
    UNIT_CRASHED = "unit-crashed"
    HEALTH_TIMEOUT = "health-timeout"
    NO_SUCH_RELEASE = "no-such-release"
    NOTHING_TO_ROLL_BACK_TO = "nothing-to-roll-back-to"
    ROLLBACK_FAILED = "rollback-failed"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something did not succeed, told to the person who uploaded.

    ``message`` says what happened, with the values; ``hint`` what to look at or change, in one sentence;
    ``log`` holds the last lines of the unit's journal where there are any. ``is_shortage``: the machine had no more of
    something (descriptors) for a moment, and the same may succeed later.
    """

    code: ErrorCode
    message: str
    hint: str = ""
    log: str = ""
    is_shortage: bool = False
