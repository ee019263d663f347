"""Whether what stands under a name was written in one go, as far as the looks at it tell.   (pure)

scp over an existing file writes the new bytes over the old ones, and a client that goes on with an interrupted upload
trusts what is there: broken off at the wrong moment, or gone on with by another build, the file is half of one and
half of the other. Most formats have a checksum over all of it that tells. A plain tar has none: what was written in
pieces needs another's word for it (see ``HeldUpload.judge``).
"""

from __future__ import annotations

from dataclasses import dataclass

from dropdeploy.intake.listing import Entry
from dropdeploy.model.request import Answer, Fate, Version


@dataclass(frozen=True, slots=True)
class Writing:
    """``version`` is what stands there, ``closed`` the last version of the same file that nobody wrote to any more."""

    version: Version
    closed: Version | None = None
    is_pieced: bool = False


def follow(before: Writing | None, entry: Entry, answer: Answer | None, *, is_closed: bool) -> Writing:
    """The writing as of this look. ``before`` is that of the look before, None when this is the first.

    The answer tells of a look that an agent before this one has had; a file that was deleted since is another one,
    even if it got the same inode number.
    """
    if before is None and answer is not None and answer.fate is not Fate.GONE:
        before = Writing(answer.request.version, answer.request.version)
    version = entry.version
    if before is None or before.version.inode != version.inode:
        before = Writing(version)
    closed, is_pieced = before.closed, before.is_pieced
    if closed is not None and version.size < closed.size:
        closed, is_pieced = None, False  # truncated: begun anew
    if is_closed:
        is_pieced = is_pieced or (closed is not None and closed != version and not _is_finished(closed, version))
        closed = version
    return Writing(version, closed, is_pieced)


def _is_finished(closed: Version, now: Version) -> bool:
    """Nothing was written since, or by a client that came to its end: it has set the file's times.

    A write leaves mtime and ctime the same. rsync gives to what it leaves behind broken off the time 0.
    """
    return now.modified_ns == closed.modified_ns or now.modified_ns not in (now.changed_ns, 0)


def is_only_touched(before: Version, now: Version) -> bool:
    """The same file with other times or another mode, as clients set them after the close; not written to, it seems.

    Who uploads it again, and gives it the times that it had, has not only touched it.
    """
    if (now.inode, now.size) != (before.inode, before.size):
        return False
    if now.modified_ns == before.modified_ns:
        return now.mode != before.mode
    return _is_finished(before, now)
