"""The drop directory, and how it is known there that an upload is closed. Tried as the agent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from dropdeploy.cli.check.findings import Finding, good, poor
from dropdeploy.cli.check.ground import Ground, owner_text
from dropdeploy.cli.check.trying import try_directory
from dropdeploy.config.quantity import show_seconds
from dropdeploy.intake.listing import Closed
from dropdeploy.intake.wholeness import take_lease
from dropdeploy.model.app import App


def check_drop(app: App, ground: Ground) -> Iterator[Finding]:
    """Uploads are read there, results are written; nobody else may put a build there."""
    yield try_directory(app.name, app.drop, ground, is_read=True)
    if app.drop.is_dir() and app.drop.stat().st_mode & 0o002:
        what = f"everybody on this machine may deploy: {app.drop} belongs to {owner_text(app.drop)}"
        yield poor(app.name, what, f"`chmod o-rwx {app.drop}`")


def check_modes(app: App, ground: Ground) -> Iterator[Finding]:
    """scp, sftp and rsync keep the mode that a file has on the uploader's machine, 0600 too."""
    if ground.is_in_its_place and ground.can_read_others_files is False:
        mend = "give the agent's unit AmbientCapabilities=CAP_DAC_READ_SEARCH, and its CapabilityBoundingSet= too"
        yield poor(app.name, "an upload that only its owner may read (mode 0600) is answered unreadable-upload", mend)


def check_lease(app: App, ground: Ground) -> Iterator[Finding]:
    """From the kernel, or by waiting."""
    try:
        with tempfile.NamedTemporaryFile(dir=app.drop, prefix=".dropdeploy-") as probe:
            fd = os.open(probe.name, os.O_RDONLY | os.O_CLOEXEC)
            probe.file.close()  # nobody may have it open for writing
            has_leases = take_lease(fd) is Closed.YES
            os.close(fd)
    except OSError:
        return  # not writable, which is told elsewhere
    settle = f"an upload is taken when it has not changed for {show_seconds(app.settle_s)} (`settle`)"
    if not has_leases:
        yield poor(app.name, f"the file system of {app.drop} has no leases, so {settle}")
    elif ground.can_lease_others_files is False:
        mend = "give the agent's unit AmbientCapabilities=CAP_LEASE, and its CapabilityBoundingSet= too"
        yield poor(app.name, f"leases only on the agent's own files, so {settle}", mend)
    else:
        yield good(app.name, "an upload is taken as soon as it is closed (read lease)")
