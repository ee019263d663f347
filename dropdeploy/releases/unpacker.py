"""The unpacker: a process of its own that turns an upload into the files of a release.

It can be killed at any moment, gives its memory back when it ends, and leaves the agent's interpreter free. All it
touches are the descriptors that it was given: the upload's, the staging directory's, the tap's. Nothing here opens
a path, so before the upload's first byte is read it is shut off from everything else (``confinement``).

Started as ``python3 -P -S -m dropdeploy.releases.unpacker JOB``, JOB being JSON with the attributes of ``Job``. To its
standard output it writes JSON lines: ``{"read": BYTES}`` a few times a second, and at the end ``{"done": {…}}`` or
``{"fault": {…}}``. Its standard input is a lifeline, at whose end it goes: nobody is there any more to want it.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable

from dropdeploy.releases.confinement import confine
from dropdeploy.releases.decoders import decoder
from dropdeploy.releases.extract import unpack_tar, unpack_zip
from dropdeploy.releases.former import Former, write_list
from dropdeploy.releases.refusal import (
    INTERNAL,
    NO_SPACE,
    NOT_AUTHORISED,
    TOO_LARGE,
    UNSUPPORTED,
    Refusal,
    show,
    show_size,
)
from dropdeploy.releases.stream import Stream
from dropdeploy.releases.tree import Tree

_LIFELINE, _REPORT = 0, 1
_LATE_IMPORTS = {
    "/": ("dropdeploy.releases.directory",),
    ".tar.bz2": ("bz2",),
    ".tar.xz": ("lzma",),
    ".tar.zst": ("dropdeploy.releases.zstd",),
    ".zip": ("dropdeploy.releases.zipball", "dropdeploy.releases.zipdir", "bz2", "encodings.cp437"),
}
"""What only some formats need: nothing can be imported any more once the process is confined."""
_REPORT_EVERY_S = 0.25


class Job:
    """What to do. Descriptors are numbers; ``beyond`` are the places of shared entries (see ``links``).

    ``former`` is a release to compare with, and ``same`` a file for the list of what is equal (``sharing``), or None.
    """

    def __init__(self, text: str) -> None:
        job = json.loads(text)
        self.source: int = job["source"]
        self.staging: int = job["staging"]
        self.tap: int | None = job["tap"]
        self.former: int | None = job.get("former")
        self.same: int | None = job.get("same")
        self.format: str = job["format"]
        self.size: int = job["size"]
        self.strip: int = job["strip"]
        self.max_bytes: int = job["max_bytes"]
        self.max_entries: int = job["max_entries"]
        self.beyond = tuple(os.fsencode(path) for path in job["beyond"])


def run(job: Job, tree: Tree, on_read: Callable[[int], None]) -> dict[str, object]:
    """Do it; returns the fields of ``model.unpacking.Unpacked``."""
    size, sha256, is_sealed = job.size, "", True
    if job.format == "/":
        from dropdeploy.releases.directory import copy_directory  # noqa: PLC0415 - start-up time

        size = copy_directory(job.source, tree)
    else:
        decoding = decoder(job.format)
        stream = Stream(job.source, size, decoding, job.tap, on_read)
        if job.format == ".zip":
            unpack_zip(job.source, size, stream, tree)
        else:
            unpack_tar(stream, tree)
        sha256, is_sealed = stream.sha256, decoding.is_sealed
    if not tree.entries:
        hint = "look at what was packed"
        if job.strip and job.format != "/":
            hint = f"`strip = {job.strip}` drops names of no more than {job.strip} components; look at what was packed"
        raise Refusal(UNSUPPORTED, "the upload holds nothing to deploy", hint)
    tree.settle(job.beyond)
    if job.same is not None:
        write_list(job.same, tree.same)
    return {
        "bytes": size,
        "sha256": sha256,
        "entries": tree.entries,
        "unpacked_bytes": tree.bytes,
        "is_sealed": is_sealed,
        "cloned_bytes": tree.cloned_bytes,
    }


def refusal_of(error: OSError | MemoryError, tree: Tree, staging: int) -> Refusal:
    """What the kernel has against writing the entry at hand, in the uploader's words."""
    name = show(tree.at)
    if isinstance(error, MemoryError):
        return Refusal(INTERNAL, f"the memory did not suffice to unpack entry {name}", "give the agent more memory")
    code = error.errno
    if code in (errno.ENOSPC, errno.EDQUOT):
        system = os.fstatvfs(staging)
        what = "the quota is used up" if code == errno.EDQUOT else "no space is left"
        what = "no inodes are left" if code == errno.ENOSPC and system.f_files and not system.f_favail else what
        free = show_size(system.f_bavail * system.f_frsize)
        return Refusal(NO_SPACE, f"{what} for entry {name} ({free} free)")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refusal(NOT_AUTHORISED, f"entry {name} cannot be written ({error.strerror})")
    if code in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
        return Refusal("unsafe-entry", f"entry {name} has a name that the file system does not take ({error.strerror})")
    if code == errno.EFBIG:
        return Refusal(TOO_LARGE, f"entry {name} is larger than a file may be here")
    hint = "raise the agent's LimitNOFILE" if code in (errno.EMFILE, errno.ENFILE) else "see the agent's journal"
    if code == errno.EIO:
        hint = "the disk or its file system fails: the kernel's log on the server (`journalctl -k`) tells more"
    return Refusal(INTERNAL, f"entry {name} cannot be written ({error.strerror})", hint)


def main(argument: str) -> int:
    """Run the job, report, and return the exit status: 0 done, 1 refused."""
    os.umask(0)
    job = Job(argument)
    for module in _LATE_IMPORTS.get(job.format, ()):
        importlib.import_module(module)
    confine(job.staging, job.source if job.format == "/" else None, job.former)
    threading.Thread(target=_await_end_of_lifeline, name="lifeline", daemon=True).start()
    if job.tap is not None:
        os.set_blocking(job.tap, True)
    tree = Tree(
        job.staging,
        strip=0 if job.format == "/" else job.strip,
        max_bytes=job.max_bytes,
        max_entries=job.max_entries,
        former=Former(job.former, os.fstat(job.staging).st_gid) if job.former is not None else None,
    )
    try:
        done = run(job, tree, _progress())
    except Refusal as refusal:
        return _tell_fault(refusal)
    except (OSError, MemoryError) as error:
        return _tell_fault(refusal_of(error, tree, job.staging))
    _tell({"done": done})
    return 0


def _progress() -> Callable[[int], None]:
    told = time.monotonic()

    def tell(count: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_EVERY_S:
            told = now
            _tell({"read": count})

    return tell


def _tell(report: dict[str, object]) -> None:
    os.write(_REPORT, json.dumps(report).encode() + b"\n")


def _tell_fault(refusal: Refusal) -> int:
    _tell({"fault": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}})
    return 1


def _await_end_of_lifeline() -> None:
    while os.read(_LIFELINE, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # at once: the threads need no goodbye, and memory no tidying
