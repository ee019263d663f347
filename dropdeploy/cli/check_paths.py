"""Checks of an app's directories and files. What is missing altogether the configuration's own checks tell."""

from __future__ import annotations

import grp
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.check_machine import Ground
from dropdeploy.cli.findings import Finding, Level
from dropdeploy.cli.notify_mail import SENDMAIL_PLACES
from dropdeploy.config.quantity import show_seconds
from dropdeploy.intake.listing import Closed
from dropdeploy.intake.wholeness import take_lease
from dropdeploy.model import App


def check_root(app: App, ground: Ground) -> Iterator[Finding]:
    """Releases and the link are made there."""
    for path in (app.root, app.root / "releases"):
        if path.is_dir():
            yield _writable(app, path)


def check_file_system(app: App, ground: Ground) -> Iterator[Finding]:
    """A release is renamed into place, and what is on another file system cannot be."""
    releases = app.root / "releases"
    if releases.is_dir() and releases.stat().st_dev != app.root.stat().st_dev:
        yield Finding(
            Level.WARN,
            app.name,
            f"{releases} is on another file system than {app.root}",
            "keep them on one, or a power cut may leave a link to a release that is not whole",
        )


def check_link(app: App, ground: Ground) -> Iterator[Finding]:
    """The link is replaced by each deploy."""
    link = app.root / "app"
    if link.exists() and not link.is_symlink():
        yield Finding(Level.FAIL, app.name, f"{link} is no symbolic link", "move it away: the agent makes the link")
    elif link.is_symlink() and not link.exists():
        yield Finding(
            Level.WARN, app.name, f"{link} leads to {os.readlink(link)}, which is not there", "deploy, or roll back"
        )


def check_group(app: App, ground: Ground) -> Iterator[Finding]:
    """The release's files are given to it."""
    if app.group:
        try:
            grp.getgrnam(app.group)
        except KeyError:
            yield Finding(Level.FAIL, app.name, f"there is no group {app.group}", f"`groupadd {app.group}`")


def check_shared(app: App, ground: Ground) -> Iterator[Finding]:
    """Directories are made when missing, files are not."""
    missing = [entry for entry in app.shared if not entry.endswith("/") and not (app.root / "shared" / entry).exists()]
    for entry in missing:
        what = f"the shared file {app.root / 'shared' / entry} is not there"
        yield Finding(Level.FAIL, app.name, what, "create it, or take it out of `shared`")


def check_drop(app: App, ground: Ground) -> Iterator[Finding]:
    """Uploads are read there, results are written."""
    if app.drop.is_dir():
        yield _writable(app, app.drop, os.R_OK)


def check_lease(app: App, ground: Ground) -> Iterator[Finding]:
    """How it is known that an upload is closed: from the kernel, or by waiting."""
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
        yield Finding(Level.WARN, app.name, f"the file system of {app.drop} has no leases, so {settle}")
    elif ground.can_lease_others_files is False:
        what = f"leases only on the agent's own files, so {settle}"
        yield Finding(Level.WARN, app.name, what, "give the agent's unit AmbientCapabilities=CAP_LEASE")
    else:
        yield Finding(Level.OK, app.name, "an upload is taken as soon as it is closed (read lease)")


def check_signers(app: App, ground: Ground) -> Iterator[Finding]:
    """Where signatures are required, they must be verifiable."""
    if app.accept.signature == "off":
        return
    signers = app.accept.allowed_signers
    if not os.access(signers, os.R_OK):
        yield Finding(Level.FAIL, app.name, f"{signers} cannot be read", "see ssh-keygen(1), ALLOWED SIGNERS")
    if shutil.which("ssh-keygen") is None:
        yield Finding(Level.FAIL, app.name, "ssh-keygen is not installed", "`apt install openssh-client`")


def check_notify(app: App, ground: Ground) -> Iterator[Finding]:
    """What a notice needs beside a receiver."""
    secret = app.notify.secret_file
    if secret is not None and not os.access(secret, os.R_OK):
        mend = "make one that the agent may read: `openssl rand -hex 32`, mode 0640, group dropdeploy"
        yield Finding(Level.FAIL, app.name, f"{secret} cannot be read", mend)
    if app.notify.email and shutil.which("sendmail", path=SENDMAIL_PLACES) is None:
        yield Finding(Level.FAIL, app.name, "there is no sendmail for `notify.email`", "`apt install dma`, for one")


def _writable(app: App, path: Path, also: int = 0) -> Finding:
    if os.access(path, os.W_OK | os.X_OK | also):
        return Finding(Level.OK, app.name, f"{path} is {'readable and ' if also else ''}writable")
    status = path.stat()
    what = f"{path} is not {'readable and ' if also else ''}writable"
    return Finding(Level.FAIL, app.name, what, f"its owner is {status.st_uid}:{status.st_gid}; give it to the agent")
