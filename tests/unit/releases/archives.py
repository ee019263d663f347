"""Making archives, honest and hostile ones, and unpacking them in this process."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import zstandard

from dropdeploy.releases.refusal import Refusal
from dropdeploy.releases.tree import Tree
from dropdeploy.releases.unpacker import Job, run

END = bytes(1024)
Snapshot = dict[str, tuple[str, int, bytes]]
"""By path: the type ("f", "d", "l"), the mode (0 for links), and the content or target."""


def header(name: bytes, kind: bytes = b"0", size: int = 0, *, link: bytes = b"", **fields: bytes) -> bytes:
    """A ustar header; ``fields`` replace whole fields by their names."""
    return block_of(
        {
            "name": name.ljust(100, b"\0"),
            "type": kind,
            "size": b"%011o\0" % size,
            "link": link.ljust(100, b"\0"),
            **fields,
        }
    )


def block_of(fields: dict[str, bytes]) -> bytes:
    """A header of these fields, the others being as they mostly are, and its sum right."""
    values = {
        "name": bytes(100),
        "mode": b"0000644\0",
        "uid": b"0000000\0",
        "gid": b"0000000\0",
        "size": b"%011o\0" % 0,
        "mtime": b"14524773600\0",
        "checksum": b" " * 8,
        "type": b"0",
        "link": bytes(100),
        "magic": b"ustar\x0000",
        "uname": bytes(32),
        "gname": bytes(32),
        "major": bytes(8),
        "minor": bytes(8),
        "prefix": bytes(155),
        "rest": bytes(12),
    }
    values.update(fields)
    block = b"".join(values.values())
    assert len(block) == 512, len(block)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header and its data."""
    return header(name, kind, len(data), **fields) + padded(data)


def pax(records: dict[str, str | bytes], kind: bytes = b"x") -> bytes:
    """An extended header."""
    data = b""
    for key, value in records.items():
        body = b" " + key.encode() + b"=" + (value.encode() if isinstance(value, str) else value) + b"\n"
        length = len(body)
        while length != len(str(length)) + len(body):
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    return member(b"PaxHeaders/x", data, kind)


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target)


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def directory(name: bytes) -> bytes:
    return header(name, b"5", mode=b"0000755\0")


def sample_tar() -> bytes:
    """A small honest archive with one of each kind, and files of interesting sizes."""
    return (
        directory(b"./")
        + member(b"./index.html", b"<h1>hello</h1>\n")
        + member(b"./bin/run", b"#!/bin/sh\n" * 60, mode=b"0000755\0")
        + member(b"./empty")
        + member(b"./block", b"x" * 512)
        + symlink(b"./current", b"bin/run")
        + hardlink(b"./again", b"./index.html")
        + END
    )


def compressed(data: bytes, format_: str) -> bytes:
    if format_ == ".tar.gz":
        return gzip.compress(data, mtime=0)
    if format_ == ".tar.xz":
        return lzma.compress(data)
    if format_ == ".tar.bz2":
        return bz2.compress(data)
    if format_ == ".tar.zst":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    assert format_ == ".tar"
    return data


def zipped(
    entries: Sequence[tuple[str, bytes, int]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    """A zip archive; each entry is (name, data, mode with type)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            info.external_attr = mode << 16
            info.create_system = 3
            info.compress_type = method
            archive.writestr(info, data)
        archive.comment = comment
    return file.getvalue()


def sample_zip(comment: bytes = b"") -> bytes:
    return zipped(
        [
            ("bin/", b"", stat.S_IFDIR | 0o755),
            ("bin/run", b"#!/bin/sh\n" * 60, stat.S_IFREG | 0o755),
            ("index.html", b"<h1>hello</h1>\n", stat.S_IFREG | 0o644),
            ("current", b"bin/run", stat.S_IFLNK | 0o777),
            ("empty", b"", stat.S_IFREG | 0o600),
        ],
        comment=comment,
    )


def gnu_tar(directory: Path, *options: str) -> bytes:
    """What GNU tar makes of a directory."""
    return subprocess.run(
        ["tar", "-C", str(directory), *options, "-cf", "-", "."], check=True, stdout=subprocess.PIPE
    ).stdout


def python_tar(format_: int, entries: Sequence[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def end_of_zip(data: bytes) -> int:
    return data.rindex(b"PK\x05\x06")


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    """``data`` with a struct's values written over it."""
    new = struct.pack(form, *values)
    return data[:at] + new + data[at + len(new) :]


def snapshot(root: Path) -> Snapshot:
    """What a directory holds."""
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[name] = ("l", 0, os.fsencode(path.readlink()))
        elif stat.S_ISDIR(mode):
            found[name] = ("d", stat.S_IMODE(mode), b"")
        else:
            found[name] = ("f", stat.S_IMODE(mode), path.read_bytes())
    return found


class Bench:
    """Unpacks archives, one after the other, each into an empty directory below ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "staging"
        self.outside = path / "outside"
        self.outside.mkdir()
        self._count = 0
        self.done: dict[str, object] = {}

    def unpack(
        self,
        data: bytes,
        format_: str = ".tar",
        *,
        strip: int = 0,
        max_bytes: int = 1 << 30,
        max_entries: int = 10_000,
        beyond: Sequence[str] = (),
    ) -> Snapshot | Refusal:
        """What became of it, or why nothing did."""
        self._count += 1
        self.root = self.path / f"staging-{self._count}"
        self.root.mkdir()
        upload = self.path / "upload"
        upload.write_bytes(data)
        source, staging = os.open(upload, os.O_RDONLY), os.open(self.root, os.O_RDONLY)
        old = os.umask(0)
        tree = Tree(staging, strip=strip, max_bytes=max_bytes, max_entries=max_entries)
        try:
            job = {
                "source": source,
                "staging": staging,
                "tap": None,
                "format": format_,
                "size": len(data),
                "strip": strip,
                "max_bytes": max_bytes,
                "max_entries": max_entries,
                "beyond": list(beyond),
            }
            self.done = run(Job(json.dumps(job)), tree, lambda count: None)
        except Refusal as refusal:
            return refusal
        finally:
            os.umask(old)
            tree.close()
            os.close(source)
            os.close(staging)
        return snapshot(self.root)

    def refused(self, data: bytes, format_: str = ".tar", **options: int) -> Refusal:
        """Why it is refused; that it left nothing outside is checked on the way."""
        refusal = self.unpack(data, format_, **options)  # type: ignore[arg-type]
        assert isinstance(refusal, Refusal), refusal
        assert not list(self.outside.iterdir())
        assert refusal.hint
        return refusal

    def unpacked(self, data: bytes, format_: str = ".tar", **options: int) -> Snapshot:
        found = self.unpack(data, format_, **options)  # type: ignore[arg-type]
        assert not isinstance(found, Refusal), f"{found.code}: {found.message}"
        return found
