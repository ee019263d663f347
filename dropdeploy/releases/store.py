"""The releases of one app on disk: the port ``Releases`` of the deploys."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
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
from dropdeploy.releases.places import PRUNED, STAGING, look, open_places
from dropdeploy.releases.sharing import Former, find_former, share_files
from dropdeploy.releases.staging import finish_staging, make_staging
from dropdeploy.releases.unpack import run_unpacker
from dropdeploy.releases.waste import clear_waste, remove_waste, set_aside

_LOG = logging.getLogger(__name__)
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Where no descriptor is left for a swap, it is tried again after these."""

T = TypeVar("T")


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
        return await self._run("look at the releases", lambda: look(self._root))

    async def unpacked_size(self, source: Source) -> int:
        """See the port."""
        size = await self._run("read the upload", lambda: estimate_unpacked(source))
        return size if isinstance(size, int) else source.size

    # --- making -----------------------------------------------------------------------------------------

    async def unpack(self, source: Source, release: str, percent: Percent) -> Unpacked | Fault:
        """See the port."""
        _check_id(release)
        self._building = release
        staging = await self._run("make a staging directory", lambda: make_staging(self._root, release, self._group))
        if isinstance(staging, Fault):
            return staging
        unpacked: Unpacked | Fault | None = None
        former = await self._find_former(staging)
        try:
            unpacked = await run_unpacker(
                source,
                staging,
                strip=self._strip,
                accept=self._accept,
                beyond=self._shared,
                percent=percent,
                former=former.release if former is not None else None,
                same=former.same if former is not None else None,
            )
            if former is not None and isinstance(unpacked, Unpacked):
                unpacked = await self._share(former, staging, unpacked)
        finally:
            os.close(staging)
            if former is not None:
                former.close()
            if not isinstance(unpacked, Unpacked):
                await self._run("remove the staging directory", lambda: remove_waste(self._root, STAGING + release))
        return self._with_place(unpacked) if isinstance(unpacked, Fault) else unpacked

    async def _find_former(self, staging: int) -> Former | None:
        if not self._dedupe:
            return None
        former = await self._run("look at the live release", lambda: find_former(self._root, staging, self._group))
        return None if isinstance(former, Fault) else former

    async def _share(self, former: Former, staging: int, unpacked: Unpacked) -> Unpacked | Fault:
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
        return await self._run(
            f"finish release {release}", lambda: finish_staging(self._root, release, self._group, self._shared)
        )

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
        with open_places(self._root) as places:
            return swap.swap_link(places.root, self._root, release)

    async def unlink(self) -> Fault | None:
        """See the port."""
        return await self._run(f"remove {swap.LINK}", self._unlink)

    def _unlink(self) -> Fault | None:
        with open_places(self._root) as places:
            return swap.unlink_link(places.root, self._root)

    # --- removing ---------------------------------------------------------------------------------------

    async def discard(self, release: str) -> Fault | None:
        """See the port."""
        _check_id(release)
        async with self._removing:
            return await self._run(f"remove release {release}", lambda: self._discard(release))

    def _discard(self, release: str) -> Fault | None:
        remove_waste(self._root, STAGING + release)
        reason = set_aside(self._root, release)
        if reason:
            return Fault(ErrorCode.INTERNAL, f"release {release} is not removed: {reason}", "")
        remove_waste(self._root, PRUNED + release)
        return None

    async def prune(self, releases: Iterable[str]) -> Pruned:
        """See the port. What ``clear`` could not remove before is told again."""
        removed: list[str] = []
        failed = sorted(self._left.items())
        async with self._removing:
            for release in releases:
                _check_id(release)
                reason = await self._run(f"remove release {release}", partial(set_aside, self._root, release))
                if isinstance(reason, Fault):
                    failed.append((release, reason.message))
                elif reason:
                    failed.append((release, reason))
                else:
                    removed.append(release)
        return Pruned(tuple(removed), tuple(failed))

    async def clear(self) -> None:
        """See the port."""

        def is_waste(name: str) -> bool:
            # Asked name by name: a release may be begun while this waits for its turn.
            return name.startswith((PRUNED, STAGING)) and name != STAGING + self._building

        await self._clean("remove what was pruned", is_waste)

    async def sweep(self, keep: Iterable[str] = ()) -> None:
        """See the port."""
        kept = {STAGING + release for release in keep}
        await self._clean(
            "clean up after a crash",
            lambda name: name.startswith((PRUNED, STAGING)) and name not in kept,
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
        for name, reason in clear_waste(self._root, is_waste):
            self._left[name] = reason
            _LOG.warning("%s", reason)

    async def _run(self, doing: str, work: Callable[[], T]) -> T | Fault:
        try:
            return await in_thread(work)
        except OSError as error:
            return fault_of(error, doing, self._root)


def _check_id(release: str) -> None:
    if parse_release_id(release) is None:
        raise ValueError(f"{release!r} is no release id")
