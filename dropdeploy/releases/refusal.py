"""Why an upload is not unpacked, and how names and sizes are shown to the person who uploaded it.   (pure)

The modules that run in the unpacker's own process (see ``unpacker``) import nothing that is slow to import: no
dataclasses, enum, typing or pathlib, which would cost more than unpacking a small build. So the error codes are
plain strings here; the agent's side makes of them an ``ErrorCode``, and of a refusal a ``Fault`` (``model.fault``).
"""

from __future__ import annotations

UNSUPPORTED = "unsupported-upload"
UNREADABLE = "unreadable-upload"
CORRUPT = "corrupt-upload"
TRUNCATED = "truncated-upload"
UNSAFE = "unsafe-entry"
TOO_LARGE = "too-large"
CHANGED = "changed-while-reading"
NO_SPACE = "no-space"
NOT_AUTHORISED = "not-authorised"
INTERNAL = "internal"

HINTS = {
    UNSUPPORTED: "pack the build as .tar.gz, .tar.xz, .tar.bz2, .tar.zst, .tar or .zip, with its tool's defaults",
    UNREADABLE: "make the upload readable for the agent's user",
    CORRUPT: "upload it again; if that does not help, pack it anew and test it before the upload",
    TRUNCATED: "resume the upload, or upload the file again as a whole",
    UNSAFE: "pack the build with names relative to its top directory, e.g. tar -C build -czf build.tar.gz .",
    TOO_LARGE: "pack less, or raise the limit in the app's [accept] section",
    CHANGED: "let the upload finish before it is asked to go live; it is judged anew when it is closed",
}

_SHOWN = 200


class Refusal(Exception):  # noqa: N818 - it is the upload that errs
    """Raised where an upload turns out not to be deployable; caught once, at the unpacker's end."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or HINTS.get(code, "")


def corrupt(message: str, hint: str = "") -> Refusal:
    """A check failed, or the bytes make no sense."""
    return Refusal(CORRUPT, message, hint)


def truncated(message: str) -> Refusal:
    """The bytes run out before the format says that it is whole; more of them may come."""
    return Refusal(TRUNCATED, message)


def unsafe(message: str, hint: str = "") -> Refusal:
    """An entry is not one that a release may contain."""
    return Refusal(UNSAFE, message, hint)


def too_large(message: str, hint: str = "") -> Refusal:
    """A limit is reached."""
    return Refusal(TOO_LARGE, message, hint)


def show(name: bytes) -> str:
    """A name from an archive in quotes, fit for a terminal and a TOML file: nothing unprintable, never long."""
    text = name.decode("utf-8", "backslashreplace")
    if len(text) > _SHOWN:
        text = text[: _SHOWN // 2] + "…" + text[-_SHOWN // 2 :]
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + "'"


def show_size(count: int) -> str:
    """A number of bytes as people write it: ``812 bytes``, ``1.5 MiB``, ``8 GiB``."""
    if count < 1024:
        return f"{count} bytes"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f}".removesuffix(".0") + " " + unit
