"""The live link: `app`, which at every instant leads to a whole release.

What it led to before a swap stays under a name of its own, the spare: the way back then needs no room on the disk.
"""

from __future__ import annotations

import errno
import os
import stat

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.kernel import exchange

LINK = "app"
RELEASES = "releases"
_TEMPORARY = ".app.swap"


def live_release(root: int) -> str:
    """The release that `app` in the directory ``root`` leads to; empty when it is no link into ``releases/``."""
    target = _target(root)
    directory, _, name = target.removeprefix("./").rstrip("/").rpartition("/")
    if name in ("", ".", "..") or not _is_releases(root, directory):
        return ""
    return name


def _target(root: int, link: str = LINK) -> str:
    """What the link says, empty when there is none."""
    try:
        return os.readlink(link, dir_fd=root)
    except OSError:
        return ""


def _is_releases(root: int, directory: str) -> bool:
    """Whether a link's target names ``releases/``; somebody may have made the link by hand, with a full path."""
    if directory == RELEASES:
        return True
    try:
        return os.path.samestat(os.stat(directory, dir_fd=root), os.stat(RELEASES, dir_fd=root))
    except OSError:
        return False


def strays_to(root: int) -> str:
    """Where `app` leads, if it is a link that somebody made to something else than a release; else empty."""
    return "" if live_release(root) else _target(root)


def is_blocked(root: int) -> bool:
    """Whether something that is no symbolic link stands where `app` belongs."""
    try:
        return not stat.S_ISLNK(os.lstat(LINK, dir_fd=root).st_mode)
    except FileNotFoundError:
        return False


def blocked(path: str) -> Fault:
    """The fault for that; ``path`` is the app's directory."""
    return Fault(
        ErrorCode.APP_PATH_BLOCKED,
        f"{path}/{LINK} is not a symbolic link, and nothing but a link can be swapped",
        f"move {path}/{LINK} away, or point `root` to another directory",
    )


def swap_link(root: int, path: str, release: str) -> Fault | None:
    """Point `app` in the directory ``root`` (whose name is ``path``, for messages) to ``release``.

    renameat2(2) has the new link and the old one change places, so that no instant is without one, and the old one is
    the spare; fsync(2) of the directory puts that on disk. ``remove_leftover`` removes the spare. Raises OSError.
    """
    target = f"{RELEASES}/{release}"
    try:
        is_whole = stat.S_ISDIR(os.lstat(target, dir_fd=root).st_mode)
    except FileNotFoundError:
        is_whole = False
    if not is_whole:
        return Fault(
            ErrorCode.NO_SUCH_RELEASE,
            f"there is no release {release} in {path}/{RELEASES}",
            "see status.toml for the releases there are",
        )
    if is_blocked(root):
        return blocked(path)
    if _target(root) == target:  # done before, as far as the disk knows
        os.fsync(root)
        return None
    if _target(root, _TEMPORARY) != target:
        remove_leftover(root)
        os.symlink(target, _TEMPORARY, dir_fd=root)
    try:
        exchange(root, _TEMPORARY, LINK)
    except OSError as error:
        remove_leftover(root)
        if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):  # it came between the look and the rename
            return blocked(path)
        raise
    os.fsync(root)
    return None


def unlink_link(root: int, path: str) -> Fault | None:
    """Remove `app`, if it is a symbolic link. Raises OSError."""
    remove_leftover(root)
    if is_blocked(root):
        return blocked(path)
    try:
        os.unlink(LINK, dir_fd=root)
    except FileNotFoundError:
        return None
    os.fsync(root)
    return None


def remove_leftover(root: int) -> None:
    """Remove the spare, and what a crash between the two calls of a swap left."""
    try:
        os.unlink(_TEMPORARY, dir_fd=root)
    except FileNotFoundError:
        return
