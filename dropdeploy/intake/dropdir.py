"""The drop directory of one app: look into it, open what is in it, clear away what is done.

Whoever can write here may change anything at any time and may plant links; so every name is opened relative to the
directory's descriptor, never through a link, and what was opened is asked what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from dropdeploy.intake import clearing, wholeness
from dropdeploy.intake.held import HeldUpload, changed
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.meta import SIDECAR_LIMIT, parse_meta
from dropdeploy.intake.names import (
    META,
    SHA256,
    SIGNATURE,
    Invisible,
    MarkerName,
    Own,
    meaning_of,
)
from dropdeploy.intake.proof import SignatureCheck
from dropdeploy.model.app import Accept, App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Format, Marker, Upload, Version
from dropdeploy.shortage import is_shortage

_MARKER_LIMIT = 1024


class DropDirectory:
    """One app's drop directory; implements the port ``Uploads``."""

    def __init__(self, app: App) -> None:
        self._path = app.drop
        self._accept = app.accept

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    async def look(self, answered: Mapping[str, Version]) -> tuple[Entry, ...] | str:
        """All that is visible; a sentence when the directory cannot be read.

        Files whose version is in ``answered`` are not probed: opening them again and again would help nobody.
        """
        return await asyncio.to_thread(self.look_now, answered)

    def look_now(self, answered: Mapping[str, Version]) -> tuple[Entry, ...] | str:
        """``look``, for those who may wait for the disk."""
        try:
            with self._opened() as directory:
                return tuple(self._entries(directory, answered))
        except OSError as error:
            return f"the drop directory {self._path} cannot be read: {error.strerror}"

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)

    def _entries(self, directory: int, answered: Mapping[str, Version]) -> Iterator[Entry]:
        for name in sorted(os.listdir(directory)):
            meaning = meaning_of(name)
            if isinstance(meaning, Invisible | Own):
                continue
            with contextlib.suppress(FileNotFoundError):  # clients rename and delete as they like
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                version = wholeness.version_of(status)
                kind = _kind(status.st_mode)
                closed, text = Closed.UNKNOWN, ""
                if kind is EntryKind.FILE and answered.get(name) != version:
                    closed = wholeness.probe(name, directory)
                    if isinstance(meaning, MarkerName):
                        text = _marker_text(name, directory)
                yield Entry(name, kind, version, closed, text)

    # --- opening an upload ---

    async def open(self, upload: Upload) -> HeldUpload | Fault:
        """See the port."""
        try:
            held = await asyncio.to_thread(self._open, upload)
        except FileNotFoundError:
            return changed(upload.name, "is gone")
        except OSError as error:
            return _unreadable(upload.name, error)
        if isinstance(held, Fault) or self._accept.signature == "off":
            return held
        try:
            check = await self._begin_check(upload)
        except BaseException:
            held.close()
            raise
        if isinstance(check, Fault):
            held.close()
            return check
        held.expect_signature(check)
        return held

    async def _begin_check(self, upload: Upload) -> SignatureCheck | Fault:
        signature = await asyncio.to_thread(self._sidecar, upload.name, SIGNATURE)
        if signature is None:
            return Fault(ErrorCode.SIGNATURE_MISSING, f"{upload.name} has no signature {upload.name}{SIGNATURE}")
        return await SignatureCheck.begin(upload.name, signature, self._accept.allowed_signers)

    def _open(self, upload: Upload) -> HeldUpload | Fault:
        is_directory = upload.format is Format.DIRECTORY
        with self._opened() as directory:
            fd = os.open(upload.name, wholeness.OPEN_FLAGS | (os.O_DIRECTORY if is_directory else 0), dir_fd=directory)
        held = HeldUpload(fd, upload, self._read_checksum, requires_checksum=self._accept.checksum == "required")
        status = os.fstat(fd)
        fault: Fault | None = None
        if not is_directory and not stat.S_ISREG(status.st_mode):
            fault = changed(upload.name, "is no regular file any more")
        elif not is_directory and wholeness.version_of(status) != upload.version:
            fault = changed(upload.name, "was replaced or changed")
        elif not is_directory and status.st_size > self._accept.max_bytes:
            fault = _too_large(upload.name, status.st_size, self._accept)
        elif not is_directory and not held.take_lease():
            fault = changed(upload.name, "is open for writing again")
        if fault is not None:
            held.close()
        return fault or held

    def _sidecar(self, name: str, ending: str) -> bytes | None:
        try:
            with self._opened() as directory:
                return _read(name + ending, directory, SIDECAR_LIMIT + 1)
        except OSError as error:
            if is_shortage(error):
                raise  # not to be taken for one that is not there
            return None

    async def read_sidecar(self, name: str, ending: str) -> bytes | None:
        """What a sidecar holds now, cut after SIDECAR_LIMIT + 1 bytes; None when there is none."""
        return await asyncio.to_thread(self._sidecar, name, ending)

    async def _read_checksum(self, name: str) -> bytes | None:
        return await self.read_sidecar(name, SHA256)

    async def read_meta(self, upload: Upload) -> tuple[tuple[str, str], ...] | Fault:
        """See the port."""
        content = await self.read_sidecar(upload.name, META)
        return () if content is None else parse_meta(upload.name + META, content)

    # --- afterwards ---

    async def as_it_is_now(self, upload: Upload, sha256: str) -> Upload:
        """The upload with the version that stands under its name now, if its bytes are still those that were judged.

        Clients set a file's times and mode after they have closed it (SFTP's SETSTAT), some of them a round trip
        later, when a deploy may be far on already. That makes another version of the same upload, not another upload.
        """
        return await asyncio.to_thread(self._as_it_is_now, upload, sha256)

    def _as_it_is_now(self, upload: Upload, sha256: str) -> Upload:
        with contextlib.suppress(OSError), self._opened() as directory:
            return clearing.as_it_is_now(upload, sha256, directory)
        return upload

    async def consume(self, request: Upload | Marker) -> Version | None:
        """Remove the marker or the ``.ready`` that asked for what was done.

        Only what was judged is removed, never what came under the same name since. Returns the version of ``.ready``
        that was consumed. What cannot be removed stays; that it was answered is remembered elsewhere.
        """
        return await asyncio.to_thread(self._consume, request)

    def _consume(self, request: Upload | Marker) -> Version | None:
        with contextlib.suppress(OSError), self._opened() as directory:
            if isinstance(request, Marker):
                clearing.remove(request.name, request.version, directory)
                return None
            return clearing.consume_ready(request, directory)
        return None

    async def delete(self, upload: Upload) -> bool:
        """Remove an archive with its sidecars, if it is still this version; False when it is not, or is written to."""
        return await asyncio.to_thread(self._delete, upload)

    def _delete(self, upload: Upload) -> bool:
        with contextlib.suppress(OSError), self._opened() as directory:
            return clearing.withdraw(upload, directory)
        return False

    async def remove(self, entry: Entry) -> None:
        """Consume a marker that needs no answer."""
        await asyncio.to_thread(self._remove, entry)

    def _remove(self, entry: Entry) -> None:
        with contextlib.suppress(OSError), self._opened() as directory:
            clearing.remove(entry.name, entry.version, directory)


def _kind(mode: int) -> EntryKind:
    if stat.S_ISREG(mode):
        return EntryKind.FILE
    return EntryKind.DIRECTORY if stat.S_ISDIR(mode) else EntryKind.OTHER


def _read(name: str, directory: int, limit: int) -> bytes:
    """The first bytes of a regular file. Raises OSError, also when it is no regular file."""
    fd = os.open(name, wholeness.OPEN_FLAGS, dir_fd=directory)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{name} is no regular file")
        return file.read(limit)


def _marker_text(name: str, directory: int) -> str:
    """The first line that a person, or an editor on any system, wrote there; "" when it cannot be read."""
    try:
        content = _read(name, directory, _MARKER_LIMIT)
    except OSError as error:
        if is_shortage(error):
            raise  # what it asks for is not known, and must not be guessed
        return ""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = content.decode(encoding, "replace").strip().splitlines()
    return lines[0].strip() if lines else ""


def _unreadable(name: str, error: OSError) -> Fault:
    return Fault(
        ErrorCode.UNREADABLE_UPLOAD,
        f"{name} cannot be opened: {error.strerror}",
        "the agent's user must be able to read uploads: upload with mode 0644, or give the agent CAP_DAC_READ_SEARCH",
        is_shortage=is_shortage(error),
    )


def _too_large(name: str, size: int, accept: Accept) -> Fault:
    return Fault(
        ErrorCode.TOO_LARGE,
        f"{name} has {size} bytes, more than the {accept.max_bytes} that accept.max_bytes allows",
        "leave out what the app does not need to run, or raise accept.max_bytes in the app's file",
    )
