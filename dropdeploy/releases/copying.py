"""Copying a file's data the cheapest way that the file systems at hand allow."""

from __future__ import annotations

import errno
import fcntl
import os

FICLONE = 0x40049409  # ioctl_ficlone(2)
_STEP = 1 << 30
_PIECE = 1 << 20
UNABLE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EBADF)


def copy_data(source: int, target: int, size: int) -> int:
    """Copy the file ``source``, from its start, into the empty file ``target``; returns the number of bytes.

    ``size`` is what the file is expected to hold. Shares the blocks where the file system can (btrfs, xfs), else
    copies in the kernel, else by reading and writing.
    """
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    else:
        return os.fstat(target).st_size
    copied = _copy_in_kernel(source, target) if size else 0
    # Some file systems give nothing to copy_file_range(2) though there is something to read, so ask for the end.
    while piece := os.pread(source, _PIECE, copied):
        write_all(target, piece)
        copied += len(piece)
    return copied


def _copy_in_kernel(source: int, target: int) -> int:
    copied = 0
    try:
        while count := os.copy_file_range(source, target, _STEP, offset_src=copied):
            copied += count
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    return copied


def write_all(fd: int, data: memoryview | bytes) -> None:
    """Write all of it."""
    written = os.write(fd, data)
    while written < len(data):  # a full disk or a limit shows as a short write before it is an error
        data = data[written:]
        written = os.write(fd, data)
