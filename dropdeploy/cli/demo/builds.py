"""The demo's builds: three versions of one small web server."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("site.py")
_PICTURE_BYTES = 256 * 1024
_PAGE = "<!doctype html><title>Hello</title><h1>Hello from {version}</h1>\n"


def make_build(directory: Path, version: str, *, has_page: bool = True) -> Path:
    """Pack one version as ``hello-<version>.tar.gz``. Without its page it is ill: the app answers 500."""
    build = directory / f"hello-{version}.tar.gz"
    files = {
        "VERSION": f"{version}\n".encode(),
        "server.py": _SOURCE.read_bytes(),
        "picture.bin": os.urandom(_PICTURE_BYTES),  # so that there is something to upload: it does not compress
    }
    if has_page:
        files["page.html"] = _PAGE.format(version=version).encode()
    with tarfile.open(build, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return build
