"""What the unpacker says when the system is against it."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode
from dropdeploy.releases import refusal as refusals
from dropdeploy.releases.tree import Tree
from dropdeploy.releases.unpacker import refusal_of
from tests.unit.releases.archives import END, header, member

CODES = [value for name, value in vars(refusals).items() if name.isupper() and isinstance(value, str)]


def test_the_codes_are_the_contracts() -> None:
    assert len(CODES) == 10
    assert set(CODES) <= {str(code) for code in ErrorCode}


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (errno.ENOSPC, "no-space", "no space is left for entry 'a/b' ("),
        (errno.EDQUOT, "no-space", "the quota is used up for entry 'a/b'"),
        (errno.EACCES, "not-authorised", "entry 'a/b' cannot be written (Permission denied)"),
        (errno.EROFS, "not-authorised", "entry 'a/b' cannot be written (Read-only file system)"),
        (errno.EFBIG, "too-large", "entry 'a/b' is larger than a file may be here"),
        (errno.EILSEQ, "unsafe-entry", "entry 'a/b' has a name that the file system does not take"),
        (errno.EMFILE, "internal", "entry 'a/b' cannot be written (Too many open files)"),
        (errno.EIO, "internal", "entry 'a/b' cannot be written (Input/output error)"),
    ],
)
def test_what_the_kernel_refuses(number: int, code: str, message: str, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    tree = Tree(fd, max_bytes=1, max_entries=1)
    tree.at = b"a/b"
    refusal = refusal_of(OSError(number, os.strerror(number)), tree, fd)
    os.close(fd)
    assert refusal.code == code
    assert refusal.message.startswith(message)


def unpack(path: Path, data: bytes, limit: int, value: int) -> dict[str, dict[str, str]]:
    """Run the process under a resource limit, as the agent runs it; returns its last line."""
    (path / "upload").write_bytes(data)
    (path / "staging").mkdir()
    fds = [os.open(path / "upload", os.O_RDONLY), os.open(path / "staging", os.O_RDONLY)]
    job = {"source": fds[0], "staging": fds[1], "tap": None, "format": ".tar", "size": len(data), "strip": 0}
    job |= {"max_bytes": 1 << 40, "max_entries": 1000, "beyond": []}
    limited = f"import os, resource, sys; resource.setrlimit({limit}, ({value}, {value}));"
    limited += "os.execv(sys.argv[1], sys.argv[1:])"
    unpacker = [sys.executable, "-P", "-S", "-m", "dropdeploy.releases.unpacker", json.dumps(job)]
    with subprocess.Popen(
        [sys.executable, "-c", limited, *unpacker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=fds,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        assert process.wait() == 1
    for fd in fds:
        os.close(fd)
    fault: dict[str, dict[str, str]] = json.loads(lines[-1])
    return fault


def test_a_file_larger_than_the_process_may_write(tmp_path: Path) -> None:
    told = unpack(tmp_path, member(b"large", bytes(100_000)) + END, resource.RLIMIT_FSIZE, 50_000)
    assert told["fault"]["code"] == "too-large"
    assert told["fault"]["message"] == "entry 'large' is larger than a file may be here"


def test_no_descriptor_to_be_had(tmp_path: Path) -> None:
    deep = header(b"/".join([b"d"] * 40) + b"/x") + END
    told = unpack(tmp_path, deep, resource.RLIMIT_NOFILE, 20)
    assert told["fault"]["code"] == "internal"
    assert "Too many open files" in told["fault"]["message"]
    assert "LimitNOFILE" in told["fault"]["hint"]


def test_memory_that_does_not_suffice(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    refusal = refusal_of(MemoryError(), Tree(fd, max_bytes=1, max_entries=1), fd)
    os.close(fd)
    assert refusal.code == "internal"
    assert "memory" in refusal.message


def test_it_starts_without_what_is_slow_to_import(tmp_path: Path) -> None:
    """A small build is unpacked in less time than these take to import."""
    script = "import sys, dropdeploy.releases.unpacker; print(*sorted(sys.modules))"
    command = [sys.executable, "-P", "-S", "-c", script]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout.decode().split()
    slow = {"asyncio", "aiohttp", "dataclasses", "pathlib", "typing", "zstandard", "lzma", "bz2", "logging"}
    assert not slow & set(found)
    assert not [name for name in found if name.startswith("dropdeploy.model")]
