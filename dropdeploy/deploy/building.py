"""How a release is made: the upload is held, unpacked, proven and finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.event import Extracted
from dropdeploy.deploy.ports import OpenUpload
from dropdeploy.deploy.preflight import preflight
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Upload
from dropdeploy.model.unpacking import Unpacked

Tell = Callable[[Deploy, float | None], None]
"""Told the state at each phase's begin, and again with the percentage where that is known."""


class Building:
    """Makes releases of one app, one at a time; between its phases it holds the upload."""

    def __init__(self, app: App, ports: Ports, tell: Tell) -> None:
        self._app = app
        self._ports = ports
        self._tell = tell
        self._held: OpenUpload | None = None

    async def preflight(self, state: Deploy) -> Good | Bad:
        """Find the ground, and take hold of the upload."""
        found = await preflight(self._app, self._ports, state.request)
        if isinstance(found, Bad):
            return found
        self._held = found.held
        return Good(found.ground)

    async def extract(self, state: Deploy) -> Good | Bad:
        """Unpack what is held, and have its bytes proven."""
        held, upload = self._held, state.request
        assert held is not None
        assert isinstance(upload, Upload)
        unpacking: asyncio.Future[Unpacked | Fault] | None = None

        def percent(value: float) -> None:
            if unpacking is not None and not held.is_unchanged():
                unpacking.cancel()
            self._tell(state, value)

        unpacking = asyncio.ensure_future(self._ports.releases.unpack(held.source, state.release, percent))
        try:
            unpacked = await unpacking
        except asyncio.CancelledError:
            if held.is_unchanged():
                raise
            return Bad(_changed(upload))
        if isinstance(unpacked, Fault):
            # Half of the old bytes and half of the new ones may look like anything.
            return Bad(unpacked if held.is_unchanged() else _changed(upload))
        proven = await held.judge(unpacked)
        if isinstance(proven, Fault):
            await self._ports.releases.discard(state.release)
            return Bad(proven)
        self.let_go()
        meta = await self._ports.uploads.read_meta(upload)
        entries = "1 entry" if unpacked.entries == 1 else f"{unpacked.entries} entries"
        shared = f", {unpacked.shared_bytes} of them shared" if unpacked.shared_bytes else ""
        detail = f"{entries}, {unpacked.unpacked_bytes} bytes{shared}"
        if isinstance(meta, Fault):
            detail, meta = f"{detail}; metadata ignored: {meta.message}", ()
        return Good(Extracted(replace(upload, version=proven), unpacked, meta), detail)

    async def link(self, state: Deploy) -> Good | Bad:
        """Make a release of what was unpacked."""
        detail = await self._ports.releases.finish(state.release)
        return Bad(detail) if isinstance(detail, Fault) else Good(detail=detail)

    def let_go(self) -> None:
        """Hold the upload no longer."""
        if self._held is not None:
            self._held.close()
            self._held = None


def _changed(upload: Upload) -> Fault:
    return Fault(
        ErrorCode.CHANGED_WHILE_READING,
        f"{upload.name} changed while it was read",
        "it is judged anew once its writer has closed it",
    )
