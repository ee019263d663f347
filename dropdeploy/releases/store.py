"""The releases of one app on disk: the port ``Releases`` of the deploys."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from dropdeploy.model.app import Accept
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.release import Pruned, Survey, parse_release_id
from dropdeploy.model.unpacking import Percent, Source, Unpacked
from dropdeploy.releases import swap
from dropdeploy.releases.complaint import fault_of, rights_hint, space_hint
from dropdeploy.releases.completion import in_thread
from dropdeploy.releases.estimate import estimate_unpacked
from dropdeploy.releases.group import find_group, grant_group, prepare_group
from dropdeploy.releases.kernel import flush_file_system, rename_new
from dropdeploy.releases.removal import DIRECTORY_FLAGS, remove_entry
from dropdeploy.releases.shared import link_shared
from dropdeploy.releases.sharing import share_files
from dropdeploy.releases.unpack import run_unpacker

_LOG = logging.getLogger(__name__)
_STAGING = ".staging-"
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Where no descriptor is left for a swap, it is tried again after these."""
_PRUNED = ".pruned-"
_OPEN_MODE = 0o755  # the app, another user, goes through it

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Places:
    """Descriptors of the app's directory and of its ``releases/``."""

    root: int
    releases: int


@dataclass(frozen=True, slots=True)
class _Former:
    """The release ``name`` that the next one may share files with. ``same`` is a file for the list of these."""

    name: str
    release: int
    same: int

    def close(self) -> None:
        os.close(self.release)
        os.close(self.same)


class AppReleases:
    """``Releases`` for the app in the directory ``root``.

    ``group`` is the configured one, empty for that of ``root``; ``shared``, ``strip`` and ``accept`` are as in the
    app's file. File work runs in threads and, once begun, to its end, also when the caller is cancelled: nobody comes
    upon a half-made step that still goes on. With ``dedupe`` a release shares with the live one what is equal.
    """

    def __init__(
        self,
        *,
        root: Path,
        group: str = "",
        shared: tuple[str, ...] = (),
        strip: int = 0,
        accept: Accept | None = None,
        dedupe: bool = False,
    ) -> None:
        self._root = str(root)
        self._group = group
        self._shared = shared
        self._strip = strip
        self._accept = accept or Accept()
        self._dedupe = dedupe
        self._removing = asyncio.Lock()
        self._left: dict[str, str] = {}  # what could not be removed, and why
        self._building = ""  # the release that was begun last: its staging directory may be in use
        self._linking = asyncio.Lock()

    # --- looking ----------------------------------------------------------------------------------------

    async def survey(self) -> Survey | Fault:
        """See the port."""
        return await self._run("look at the releases", self._survey)

    def _survey(self) -> Survey:
        try:
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return Survey(False, False, "", False, (), 0)
        try:
            live = swap.live_release(root)
            system = os.fstatvfs(root)
            return Survey(
                has_root=True,
                is_blocked=swap.is_blocked(root),
                live=live,
                live_is_whole=bool(live) and os.path.isdir(f"{self._root}/{swap.RELEASES}/{live}"),
                releases=_list_releases(root),
                free_bytes=system.f_bavail * system.f_frsize,
                strays_to=swap.strays_to(root),
            )
        finally:
            os.close(root)

    async def unpacked_size(self, source: Source) -> int:
        """See the port."""
        size = await self._run("read the upload", lambda: estimate_unpacked(source))
        return size if isinstance(size, int) else source.size

    # --- making -----------------------------------------------------------------------------------------

    async def unpack(self, source: Source, release: str, percent: Percent) -> Unpacked | Fault:
        """See the port."""
        _check_id(release)
        self._building = release
        staging = await self._run("make a staging directory", lambda: self._make_staging(release))
        if isinstance(staging, Fault):
            return staging
        unpacked: Unpacked | Fault | None = None
        former = await self._run("look at the live release", lambda: self._former(staging))
        try:
            unpacked = await run_unpacker(
                source,
                staging,
                strip=self._strip,
                accept=self._accept,
                beyond=self._shared,
                percent=percent,
                former=former.release if isinstance(former, _Former) else None,
                same=former.same if isinstance(former, _Former) else None,
            )
            if isinstance(former, _Former) and isinstance(unpacked, Unpacked):
                unpacked = await self._share(former, staging, unpacked)
        finally:
            os.close(staging)
            if isinstance(former, _Former):
                former.close()
            if not isinstance(unpacked, Unpacked):
                await self._run("remove the staging directory", lambda: self._remove(_STAGING + release))
        return self._with_place(unpacked) if isinstance(unpacked, Fault) else unpacked

    def _make_staging(self, release: str) -> int:
        """An empty staging directory, whose descriptor is returned; ``releases/`` is made when missing."""
        with self._places(is_making=True) as places:
            name = _STAGING + release
            remove_entry(places.releases, os.fsencode(name))
            os.mkdir(name, 0o700, dir_fd=places.releases)
            staging = os.open(name, DIRECTORY_FLAGS, dir_fd=places.releases)
            try:
                gid = find_group(self._group, places.root)
                # A group that does not exist, or cannot be set, is the next step's affair.
                prepare_group(staging, gid if isinstance(gid, int) else os.getegid())
            except BaseException:
                os.close(staging)
                raise
            return staging

    def _former(self, staging: int) -> _Former | None:
        """What the new release may share files with; None where there is nothing, or it is not to."""
        if not self._dedupe:
            return None
        with self._places() as places:
            if os.fstat(staging).st_gid != find_group(self._group, places.root):
                return None  # its files will be given to another group, all names of them
            live = swap.live_release(places.root)
            if live not in _list_releases(places.root):
                return None
            return _Former(live, os.open(live, DIRECTORY_FLAGS, dir_fd=places.releases), _unnamed_file(staging))

    async def _share(self, former: _Former, staging: int, unpacked: Unpacked) -> Unpacked | Fault:
        try:
            shared = await self._run(
                "share files", lambda: share_files(former.release, staging, former.same, former.name)
            )
        except ValueError as error:
            return Fault(ErrorCode.INTERNAL, f"the unpacker's answer makes no sense ({error})", "upload it again")
        if isinstance(shared, Fault):
            return shared
        return replace(unpacked, shared_bytes=unpacked.shared_bytes + shared)

    def _with_place(self, fault: Fault) -> Fault:
        """The unpacker knows no paths; its faults about the place are completed here."""
        releases = f"{self._root}/{swap.RELEASES}"
        if fault.code is ErrorCode.NO_SPACE:
            return replace(fault, hint=space_hint(releases))
        if fault.code is ErrorCode.NOT_AUTHORISED:
            return replace(fault, hint=rights_hint(releases))
        return fault

    async def finish(self, release: str) -> str | Fault:
        """See the port."""
        _check_id(release)
        return await self._run(f"finish release {release}", lambda: self._finish(release))

    def _finish(self, release: str) -> str | Fault:
        with self._places() as places:
            try:
                staging = os.open(_STAGING + release, DIRECTORY_FLAGS, dir_fd=places.releases)
            except FileNotFoundError:
                if release in _list_releases(places.root):
                    return "finished before"
                return Fault(ErrorCode.INTERNAL, f"there is nothing to finish for release {release}", "upload it again")
            try:
                gid = find_group(self._group, places.root)
                if isinstance(gid, Fault):
                    return gid
                fault = link_shared(places.root, self._root, staging, self._shared, gid)
                if fault is not None:
                    return fault
                detail = grant_group(staging, gid, self._group)
                if isinstance(detail, Fault):
                    return detail
                flush_file_system(staging)
            finally:
                os.close(staging)
            try:
                rename_new(places.releases, _STAGING + release, release)
            except FileExistsError:
                return Fault(
                    ErrorCode.INTERNAL,
                    f"{self._root}/{swap.RELEASES}/{release} exists already",
                    "remove it, or upload again for a newer release",
                )
            os.fsync(places.releases)
        linked = f"{len(self._shared)} shared {'entry' if len(self._shared) == 1 else 'entries'} linked, "
        return (linked if self._shared else "") + detail

    # --- the link ---------------------------------------------------------------------------------------

    async def swap(self, release: str) -> Fault | None:
        """See the port. ``release`` may also be a directory in ``releases/`` that somebody made by hand."""
        if "/" in release or release.startswith(".") or not release:
            raise ValueError(f"{release!r} is no release")
        async with self._linking:
            for pause_s in (*_PAUSES_S, None):
                fault = await self._run(f"swap to release {release}", lambda: self._swap(release))
                # It may be the way back from what is ill: that is worth waiting for.
                if fault is None or not fault.is_shortage or pause_s is None:
                    break
                await asyncio.sleep(pause_s)
            return fault

    def _swap(self, release: str) -> Fault | None:
        with self._places() as places:
            return swap.swap_link(places.root, self._root, release)

    async def unlink(self) -> Fault | None:
        """See the port."""
        return await self._run(f"remove {swap.LINK}", self._unlink)

    def _unlink(self) -> Fault | None:
        with self._places() as places:
            return swap.unlink_link(places.root, self._root)

    # --- removing ---------------------------------------------------------------------------------------

    async def discard(self, release: str) -> Fault | None:
        """See the port."""
        _check_id(release)
        async with self._removing:
            return await self._run(f"remove release {release}", lambda: self._discard(release))

    def _discard(self, release: str) -> Fault | None:
        self._remove(_STAGING + release)
        reason = self._set_aside(release)
        if reason:
            return Fault(ErrorCode.INTERNAL, f"release {release} is not removed: {reason}", "")
        self._remove(_PRUNED + release)
        return None

    async def prune(self, releases: Iterable[str]) -> Pruned:
        """See the port. What ``clear`` could not remove before is told again."""
        removed: list[str] = []
        failed = sorted(self._left.items())
        async with self._removing:
            for release in releases:
                _check_id(release)
                reason = await self._run(f"remove release {release}", lambda release=release: self._set_aside(release))  # type: ignore[misc]
                if isinstance(reason, Fault):
                    failed.append((release, reason.message))
                elif reason:
                    failed.append((release, reason))
                else:
                    removed.append(release)
        return Pruned(tuple(removed), tuple(failed))

    def _set_aside(self, release: str) -> str:
        """Give a release the name of one that goes, from which on it is a release no more; returns why not, if not."""
        name = _PRUNED + release
        try:
            with self._places() as places:
                if swap.live_release(places.root) == release:
                    return "it is live"
                remove_entry(places.releases, os.fsencode(name))
                os.rename(release, name, src_dir_fd=places.releases, dst_dir_fd=places.releases)
                os.fsync(places.releases)  # before the first file goes, or a power cut could leave half a release
        except FileNotFoundError:
            return ""
        return ""

    async def clear(self) -> None:
        """See the port."""
        in_use = _STAGING + self._building
        await self._clean(
            "remove what was pruned", lambda name: name.startswith((_PRUNED, _STAGING)) and name != in_use
        )

    def _remove(self, name: str) -> None:
        try:
            with self._places() as places:
                remove_entry(places.releases, os.fsencode(name))
        except FileNotFoundError:
            return

    async def sweep(self, keep: Iterable[str] = ()) -> None:
        """See the port."""
        kept = {_STAGING + release for release in keep}
        await self._clean(
            "clean up after a crash",
            lambda name: name.startswith((_PRUNED, _STAGING)) and name not in kept,
        )

    async def _clean(self, doing: str, is_waste: Callable[[str], bool]) -> None:
        """What cannot be removed is logged, and tried again the next time."""
        async with self._linking:
            fault = await self._run(doing, self._remove_leftover)
        async with self._removing:
            fault = await self._run(doing, lambda: self._remove_waste(is_waste)) or fault
        if fault is not None:
            _LOG.warning("%s: %s", self._root, fault.message)

    def _remove_leftover(self) -> None:
        try:
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            swap.remove_leftover(root)
        finally:
            os.close(root)

    def _remove_waste(self, is_waste: Callable[[str], bool]) -> None:
        self._left = {}
        try:
            with self._places() as places:
                for name in filter(is_waste, os.listdir(places.releases)):
                    self._try_to_remove(places.releases, name)
        except FileNotFoundError:
            return

    def _try_to_remove(self, releases: int, name: str) -> None:
        try:
            remove_entry(releases, os.fsencode(name))
        except OSError as error:
            self._left[name] = f"could not remove {self._root}/{swap.RELEASES}/{name}: {error.strerror}"
            _LOG.warning("%s", self._left[name])

    # --- the ground -------------------------------------------------------------------------------------

    @contextmanager
    def _places(self, *, is_making: bool = False) -> Iterator[_Places]:
        """Descriptors of where the releases are, ``releases/`` being made first if so asked."""
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if is_making:
                _make_releases(root)
            releases = os.open(swap.RELEASES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
            try:
                yield _Places(root, releases)
            finally:
                os.close(releases)
        finally:
            os.close(root)

    async def _run(self, doing: str, work: Callable[[], T]) -> T | Fault:
        try:
            return await in_thread(work)
        except OSError as error:
            return fault_of(error, doing, self._root)


def _unnamed_file(directory: int) -> int:
    """A file on the same file system that goes when it is closed; in memory where there are no such files."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return os.memfd_create("equal files", os.MFD_CLOEXEC)


def _make_releases(root: int) -> None:
    try:
        os.mkdir(swap.RELEASES, _OPEN_MODE, dir_fd=root)
    except FileExistsError:
        return
    os.chmod(swap.RELEASES, _OPEN_MODE, dir_fd=root)  # whatever the agent's umask is
    os.fsync(root)


def _list_releases(root: int) -> tuple[str, ...]:
    """The ids of the releases there are, in ascending order, which is the order of their making."""
    try:
        fd = os.open(swap.RELEASES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    try:
        with os.scandir(fd) as entries:
            return tuple(
                sorted(
                    entry.name
                    for entry in entries
                    if parse_release_id(entry.name) is not None and entry.is_dir(follow_symlinks=False)
                )
            )
    finally:
        os.close(fd)


def _check_id(release: str) -> None:
    if parse_release_id(release) is None:
        raise ValueError(f"{release!r} is no release id")
