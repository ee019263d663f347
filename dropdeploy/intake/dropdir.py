"""The drop directory of one app: look into it, open what is in it, clear away what is done.

Whoever can write here may change anything at any time and may plant links; so every name is opened relative to the
directory's descriptor, never through a link, and what was opened is asked what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dropdeploy.intake import wholeness
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.names import (
    META,
    READY,
    SHA256,
    SIDECARS,
    SIGNATURE,
    Invisible,
    MarkerName,
    Own,
    meaning_of,
)
from dropdeploy.intake.proof import SignatureCheck, check_sha256
from dropdeploy.model import Accept, App, ErrorCode, Fault, Format, Marker, Source, Unpacked, Upload, Version

SIDECAR_LIMIT = 64 * 1024
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

    async def look(self, answered: dict[str, Version]) -> tuple[Entry, ...] | str:
        """All that is visible; a sentence when the directory cannot be read.

        Files whose version is in ``answered`` are not probed: opening them again and again would help nobody.
        """
        return await asyncio.to_thread(self._look, answered)

    def _look(self, answered: dict[str, Version]) -> tuple[Entry, ...] | str:
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

    def _entries(self, directory: int, answered: dict[str, Version]) -> Iterator[Entry]:
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
            return _changed(upload.name, "is gone")
        except OSError as error:
            return _unreadable(upload.name, error)
        if isinstance(held, Fault) or self._accept.signature == "off":
            return held
        signature = await asyncio.to_thread(self._sidecar, upload.name, SIGNATURE)
        if signature is None:
            held.close()
            return Fault(ErrorCode.SIGNATURE_MISSING, f"{upload.name} has no signature {upload.name}{SIGNATURE}")
        check = await SignatureCheck.begin(upload.name, signature, self._accept.allowed_signers)
        if isinstance(check, Fault):
            held.close()
            return check
        held.expect_signature(check)
        return held

    def _open(self, upload: Upload) -> HeldUpload | Fault:
        is_directory = upload.format is Format.DIRECTORY
        with self._opened() as directory:
            fd = os.open(upload.name, wholeness.OPEN_FLAGS | (os.O_DIRECTORY if is_directory else 0), dir_fd=directory)
        held = HeldUpload(fd, upload, self)
        status = os.fstat(fd)
        fault: Fault | None = None
        if not is_directory and not stat.S_ISREG(status.st_mode):
            fault = _changed(upload.name, "is no regular file any more")
        elif not is_directory and wholeness.version_of(status) != upload.version:
            fault = _changed(upload.name, "was replaced or changed")
        elif not is_directory and status.st_size > self._accept.max_bytes:
            fault = _too_large(upload.name, status.st_size, self._accept)
        elif not is_directory and not held.take_lease():
            fault = _changed(upload.name, "is open for writing again")
        if fault is not None:
            held.close()
        return fault or held

    def _sidecar(self, name: str, ending: str) -> bytes | None:
        try:
            with self._opened() as directory:
                return _read(name + ending, directory, SIDECAR_LIMIT + 1)
        except OSError:
            return None

    async def read_sidecar(self, name: str, ending: str) -> bytes | None:
        """What a sidecar holds now, cut after SIDECAR_LIMIT + 1 bytes; None when there is none."""
        return await asyncio.to_thread(self._sidecar, name, ending)

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
        judged = upload.version
        with contextlib.suppress(OSError), self._opened() as directory:
            now = _version(upload.name, directory)
            if now is None or (now.inode, now.size) != (judged.inode, judged.size):
                return upload
            if now == judged or not sha256:
                return upload
            with open(os.open(upload.name, wholeness.OPEN_FLAGS, dir_fd=directory), "rb") as file:
                if wholeness.take_lease(file.fileno()) is Closed.NO:
                    return upload
                is_same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
                if is_same and wholeness.version_of(os.fstat(file.fileno())) == now:
                    return replace(upload, version=now)
        return upload

    async def clear_away(self, request: Upload | Marker, *, delete: bool) -> Version | None:
        """Consume a marker or a ``.ready``; with ``delete``, remove the archive and its sidecars too.

        Only what was judged is removed, never what came under the same name since. Returns the version of ``.ready``
        that was consumed. What cannot be removed stays; that it was answered is remembered elsewhere.
        """
        return await asyncio.to_thread(self._clear_away, request, delete)

    def _clear_away(self, request: Upload | Marker, delete: bool) -> Version | None:
        with contextlib.suppress(OSError), self._opened() as directory:
            if isinstance(request, Marker):
                _remove_version(request.name, request.version, directory)
                return None
            return self._clear_upload(request, delete, directory)
        return None

    def _clear_upload(self, upload: Upload, delete: bool, directory: int) -> Version | None:
        ready = _version(upload.name + READY, directory)
        is_directory = upload.format is Format.DIRECTORY
        is_same = is_directory or _version(upload.name, directory) == upload.version
        # A `.ready` that came while an unchanged archive was worked on asked for just that; one beside a directory
        # (or beside new bytes) that is not the one taken asks for what has come since.
        consumed = ready if (is_same and not is_directory) or ready == upload.go else None
        if consumed is not None:
            _remove_version(upload.name + READY, consumed, directory)
        if delete and is_same and not is_directory and _remove_version(upload.name, upload.version, directory):
            for ending in SIDECARS:
                with contextlib.suppress(OSError):
                    os.unlink(upload.name + ending, dir_fd=directory)
        return consumed

    async def remove(self, entry: Entry) -> None:
        """Consume a marker that needs no answer."""
        await asyncio.to_thread(self._remove, entry)

    def _remove(self, entry: Entry) -> None:
        with contextlib.suppress(OSError), self._opened() as directory:
            _remove_version(entry.name, entry.version, directory)


class HeldUpload:
    """An upload open for reading; implements the port ``OpenUpload``."""

    def __init__(self, fd: int, upload: Upload, home: DropDirectory) -> None:
        self._fd: int | None = fd
        self._upload = upload
        self._home = home
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
        checksum = await self._home.read_sidecar(name, SHA256)
        if checksum is not None and self._upload.format is not Format.DIRECTORY:
            fault = check_sha256(name, checksum.decode(errors="replace"), unpacked.sha256)
            if fault is not None:
                return fault
        proven = wholeness.version_of(os.fstat(self._fd))
        return proven if self.is_unchanged() else _changed(name, "changed while it was read")

    def close(self) -> None:
        """See the port. Closing the descriptor drops the lease."""
        if self._signature is not None:
            self._signature.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def parse_meta(name: str, content: bytes) -> tuple[tuple[str, str], ...] | Fault:
    """A flat table of strings, at most 64 KiB of TOML."""
    hint = 'a .meta.toml is a flat table of strings, e.g. commit = "1a2b3c4"'
    if len(content) > SIDECAR_LIMIT:
        return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name} is larger than 64 KiB", hint)
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name} is not TOML: {error}", hint)
    for key, value in table.items():
        if not isinstance(value, str):
            return Fault(ErrorCode.UNREADABLE_UPLOAD, f"{name}: the value of {key!r} is no string", hint)
    return tuple(table.items())


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
    except OSError:
        return ""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = content.decode(encoding, "replace").strip().splitlines()
    return lines[0].strip() if lines else ""


def _version(name: str, directory: int) -> Version | None:
    try:
        return wholeness.version_of(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except OSError:
        return None


def _remove_version(name: str, version: Version, directory: int) -> bool:
    """Remove the file if it is still this one."""
    if _version(name, directory) != version:
        return False
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False
    return True


def _unreadable(name: str, error: OSError) -> Fault:
    return Fault(
        ErrorCode.UNREADABLE_UPLOAD,
        f"{name} cannot be opened: {error.strerror}",
        "the agent's user must be able to read uploads: upload with mode 0644, or give the agent CAP_DAC_READ_SEARCH",
    )


def _changed(name: str, what: str) -> Fault:
    return Fault(
        ErrorCode.CHANGED_WHILE_READING,
        f"{name} {what}",
        "it is judged anew; upload under a temporary name and rename, or put the .ready marker last",
    )


def _too_large(name: str, size: int, accept: Accept) -> Fault:
    return Fault(
        ErrorCode.TOO_LARGE,
        f"{name} has {size} bytes, more than the {accept.max_bytes} that accept.max_bytes allows",
        "leave out what the app does not need to run, or raise accept.max_bytes in the app's file",
    )
