"""Proof of origin: checksums and signatures, over the very bytes that were unpacked.

Signatures are OpenSSH's (ssh-keygen(1), ``-Y sign`` and ``-Y verify``; PROTOCOL.sshsig). ``ssh-keygen`` reads the
upload from a pipe into which the unpacker copies what it reads, so what is verified and what is unpacked are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from pathlib import Path

from dropdeploy.model.fault import ErrorCode, Fault

NAMESPACE = "dropdeploy"
_LIMIT_S = 30.0
_BARE = re.compile(r"\\?([0-9a-fA-F]{64})(?:\s|$)")
_BSD = re.compile(r"SHA256 \(.*\) = ([0-9a-fA-F]{64})\s*$")


def parse_sha256(text: str) -> str | None:
    """The digest in what ``sha256sum`` (also with ``--tag``) prints, or a bare one; lower case. None: there is none."""
    line = text.lstrip("\ufeff").strip().split("\n")[0]
    found = _BARE.match(line) or _BSD.match(line)
    return found.group(1).lower() if found else None


def check_sha256(name: str, text: str, actual: str) -> Fault | None:
    """Compare the sidecar's digest to that of the bytes."""
    expected = parse_sha256(text)
    if expected is None:
        return Fault(
            ErrorCode.CHECKSUM_MISMATCH,
            f"{name}.sha256 holds no SHA-256 checksum",
            f"make it with `sha256sum {name} > {name}.sha256`",
        )
    if expected == actual:
        return None
    return Fault(
        ErrorCode.CHECKSUM_MISMATCH,
        f"{name} has the SHA-256 checksum {actual}, but {name}.sha256 says {expected}",
        "upload both again; if it happens twice, the build changed after its checksum was made",
    )


class SignatureCheck:
    """One verification in progress: give ``tap`` to the unpacker, then ask for ``verdict``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, tap: int, signature_fd: int) -> None:
        self.tap = tap
        self._name = name
        self._process = process
        self._fds = [tap, signature_fd]

    @classmethod
    async def begin(cls, name: str, signature: bytes, allowed_signers: Path) -> SignatureCheck | Fault:
        """Find who signed and start verifying. ``signature`` is the sidecar's content."""
        with contextlib.ExitStack() as closing:
            signature_fd = os.memfd_create("signature")
            closing.callback(os.close, signature_fd)
            os.write(signature_fd, signature)
            identity = await _find_principal(name, signature_fd, allowed_signers)
            if isinstance(identity, Fault):
                return identity
            reading, writing = os.pipe()
            closing.callback(os.close, writing)
            try:
                process = await asyncio.create_subprocess_exec(
                    *("ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", identity),
                    *("-f", str(allowed_signers), "-s", f"/proc/self/fd/{signature_fd}"),
                    stdin=reading,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(signature_fd,),
                )
            finally:
                os.close(reading)
            closing.pop_all()  # they are the check's from now on
            return cls(name, process, writing, signature_fd)

    async def verdict(self) -> Fault | None:
        """What ssh-keygen says of all that went through the tap."""
        self._close_fds()
        try:
            async with asyncio.timeout(_LIMIT_S):
                _, told = await self._process.communicate()
        except TimeoutError:
            self.close()
            return _invalid(self._name, "ssh-keygen did not finish")
        return None if self._process.returncode == 0 else _invalid(self._name, told.decode(errors="replace"))

    def close(self) -> None:
        """Give it up, if it is still going on."""
        self._close_fds()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


async def _find_principal(name: str, signature_fd: int, allowed_signers: Path) -> str | Fault:
    try:
        process = await asyncio.create_subprocess_exec(
            *("ssh-keygen", "-Y", "find-principals"),
            *("-f", str(allowed_signers), "-s", f"/proc/self/fd/{signature_fd}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(signature_fd,),
        )
    except FileNotFoundError:
        return Fault(
            ErrorCode.SIGNATURE_INVALID,
            f"the signature of {name} cannot be verified: ssh-keygen is not installed on the server",
            "install the package openssh-client on the server",
        )
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, told = await process.communicate()
    except TimeoutError:
        process.kill()
        return _invalid(name, "ssh-keygen did not finish")
    principals = out.decode(errors="replace").split("\n")
    if process.returncode != 0 or not principals[0]:
        return _invalid(name, told.decode(errors="replace"))
    return principals[0].split(",")[0]


def _invalid(name: str, told: str) -> Fault:
    lines = "; ".join(filter(None, map(str.strip, told.splitlines())))
    reason = lines.removesuffix(".") or "the key is not among the allowed signers"
    return Fault(
        ErrorCode.SIGNATURE_INVALID,
        f"{name}.sig is no valid signature of {name}: {reason}",
        f"sign it with a key of the server's allowed_signers file: ssh-keygen -Y sign -n {NAMESPACE} -f KEY {name}",
    )
