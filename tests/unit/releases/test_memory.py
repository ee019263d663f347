"""The unpacker takes less than 150 MiB, whatever the archive: its peak as the kernel counts it, format by format."""

from __future__ import annotations

import bz2
import json
import lzma
import os
import random
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.unit.releases.archives import END, header, zipped

LIMIT_MIB = 150
MIB = 1 << 20
PIECE = random.Random(1).randbytes(MIB)
LARGE_MIB = 136
"""More than any window, so that all of it is in use."""

# The peak that the kernel tells of a process is at least what its parent had when it made it: so this small one is
# between. It passes the unpacker's lines on, and its peak in KiB as the last one.
ASK = """if True:
    import os, sys
    process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
    status, usage = os.wait4(process, 0)[1:]
    print(usage.ru_maxrss)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def tar_of(mib: int) -> bytes:
    """One file that repeats itself at a distance of a MiB."""
    return header(b"large", size=mib * MIB) + PIECE * mib + END


def zst(window_log: int, frames: int = 1) -> bytes:
    """What `zstd --ultra -22` (27) asks of the memory, made in a second."""
    parameters = zstandard.ZstdCompressionParameters(
        window_log=window_log, chain_log=6, hash_log=17, search_log=1, min_match=5, target_length=0, strategy=1,
        write_checksum=1,
    )  # fmt: skip
    tar, made = tar_of(LARGE_MIB), []
    for number in range(frames):
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        size = len(tar) // frames + 1
        made.append(compressor.compress(tar[number * size :][:size]) + compressor.flush())
    return b"".join(made)


def xz() -> bytes:
    """As `xz -9` asks, made with little effort: from pieces of 4 KiB."""
    size = 66 * MIB
    tar = header(b"large", size=size) + PIECE[:4096] * (size // 4096) + END
    return lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 * MIB}])


def gz() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(tar_of(16)) + packer.flush()


def a_name_for_each() -> bytes:
    """Many links, whose targets have to be kept to the end."""
    deep = b"/".join([b"d" * 40] * 40)
    links = (header(b"%s/%d" % (b"x" * 60, n), b"2", link=(b"t%d/" % n) + b"t" * 90) for n in range(15_000))
    return header(deep[:90]) + b"".join(links) + END


CASES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zstd --ultra -22": (".tar.zst", lambda: zst(27)),
    "zstd --ultra -22, twice": (".tar.zst", lambda: zst(27, frames=2)),
    "xz -9": (".tar.xz", xz),
    "gzip": (".tar.gz", gz),
    "bzip2": (".tar.bz2", lambda: bz2.compress(tar_of(3))),
    "tar": (".tar", lambda: tar_of(32)),
    "tar of links": (".tar", a_name_for_each),
    "zip": (".zip", lambda: zipped([("large", PIECE * 16, stat.S_IFREG | 0o644)], zipfile.ZIP_DEFLATED)),
    "bomb": (".tar.gz", lambda: zlib.compress(header(b"zeros", size=64 * MIB) + bytes(64 * MIB) + END, 9, wbits=31)),
    "bomb of bzip2": (".tar.bz2", lambda: bz2.compress(header(b"zeros", size=32 * MIB) + bytes(32 * MIB) + END)),
}


@pytest.mark.parametrize("case", CASES)
def test_peak_memory(case: str, tmp_path: Path) -> None:
    format_, make = CASES[case]
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        verdict, peak_mib = unpack(make(), format_, Path(directory))
    assert peak_mib < LIMIT_MIB, verdict
    assert peak_mib > 8, "this is no process of Python"
    assert "done" in verdict


def unpack(data: bytes, format_: str, place: Path) -> tuple[dict[str, dict[str, str]], float]:
    """The unpacker's verdict, and its peak memory in MiB."""
    (place / "upload").write_bytes(data)
    (place / "staging").mkdir()
    fds = [os.open(place / "upload", os.O_RDONLY), os.open(place / "staging", os.O_RDONLY)]
    job = {"source": fds[0], "staging": fds[1], "tap": None, "format": format_, "size": len(data), "strip": 0}
    job |= {"max_bytes": 1 << 40, "max_entries": 1_000_000, "beyond": []}
    unpacker = [sys.executable, "-P", "-S", "-m", "dropdeploy.releases.unpacker", json.dumps(job)]
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", ASK, *unpacker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=fds,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        *_, verdict, peak = process.stdout.read().splitlines()
    for fd in fds:
        os.close(fd)
    return json.loads(verdict), int(peak) / 1024
