"""An upload while it is read: its writers are kept out, and what must be proven of its bytes is asked for."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from dropdeploy.intake import wholeness
from dropdeploy.intake.listing import Closed
from dropdeploy.intake.names import READY, SHA256
from dropdeploy.intake.proof import SignatureCheck, check_sha256
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Format, Upload, Version
from dropdeploy.model.unpacking import Source, Unpacked


class HeldUpload:
    """An upload open for reading; implements the port ``OpenUpload``."""

    def __init__(
        self,
        fd: int,
        upload: Upload,
        read_checksum: Callable[[str], Awaitable[bytes | None]],
        *,
        requires_checksum: bool,
    ) -> None:
        self._fd: int | None = fd
        self._upload = upload
        self._read_checksum = read_checksum  # of the upload of this name, as it stands beside it now
        self._requires_checksum = requires_checksum
        self._version = wholeness.version_of(os.fstat(fd))
        self._has_lease = False
        self._signature: SignatureCheck | None = None

    def take_lease(self) -> bool:
        """Keep writers out for as long as it is read; False when there is one."""
        assert self._fd is not None
        closed = wholeness.take_lease(self._fd)
        self._has_lease = closed is Closed.YES
        return closed is not Closed.NO

    def expect_signature(self, check: SignatureCheck) -> None:
        """The bytes must also be what ``check`` verifies."""
        self._signature = check

    @property
    def source(self) -> Source:
        """See the port."""
        assert self._fd is not None
        tap = self._signature.tap if self._signature else None
        return Source(self._fd, self._upload.format, self._version.size, tap)

    def is_unchanged(self) -> bool:
        """See the port. Under a lease nobody can have written; setting the times is no change of content."""
        assert self._fd is not None
        if self._upload.format is Format.DIRECTORY:
            return True  # the unpacker compares each file before and after
        if self._has_lease:
            return wholeness.is_lease_whole(self._fd)
        return wholeness.version_of(os.fstat(self._fd)) == self._version

    async def judge(self, unpacked: Unpacked) -> Version | Fault:
        """See the port."""
        assert self._fd is not None
        name = self._upload.name
        if self._signature is not None:
            fault = await self._signature.verdict()
            if fault is not None:
                return fault
        if self._upload.format is not Format.DIRECTORY:
            fault = await self._check_sum(name, unpacked)
            if fault is not None:
                return fault
        proven = wholeness.version_of(os.fstat(self._fd))
        return proven if self.is_unchanged() else changed(name, "changed while it was read")

    async def _check_sum(self, name: str, unpacked: Unpacked) -> Fault | None:
        checksum = await self._read_checksum(name)
        if checksum is not None:
            return check_sha256(name, checksum.decode(errors="replace"), unpacked.sha256)
        if self._requires_checksum:
            return Fault(ErrorCode.CHECKSUM_MISSING, f"{name} has no checksum {name}{SHA256} any more")
        has_word = self._signature is not None or self._upload.go is not None
        return None if unpacked.is_sealed or not self._upload.is_pieced or has_word else _in_pieces(name)

    def close(self) -> None:
        """See the port. Closing the descriptor drops the lease."""
        if self._signature is not None:
            self._signature.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def changed(name: str, what: str) -> Fault:
    """Another version of it is there now, or somebody is writing one."""
    return Fault(
        ErrorCode.CHANGED_WHILE_READING,
        f"{name} {what}",
        "it is judged anew; upload under a temporary name and rename, or put the .ready marker last",
    )


def _in_pieces(name: str) -> Fault:
    return Fault(
        ErrorCode.CHECKSUM_MISSING,
        f"{name} was written to again after it had been closed, and nothing in it proves that it is one build: "
        "it may be half of one and half of another",
        f"upload its checksum, {name}{SHA256}, or an empty {name}{READY} as your word for it; "
        "a .tar.gz, .tar.zst or .zip needs neither",
    )
