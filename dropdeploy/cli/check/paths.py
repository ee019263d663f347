"""The app's own directory: where releases are made and the link is swapped. Tried as the agent.

What is missing altogether the configuration's own checks tell.
"""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, denied, poor, wrong
from dropdeploy.cli.check.ground import Ground, own_name
from dropdeploy.cli.check.trying import try_directory
from dropdeploy.cli.init.look import group_name
from dropdeploy.deploy.preflight import LEAST_FREE_BYTES
from dropdeploy.model.app import App

COMFORT_BYTES = 256 * 1024 * 1024
_MIB = 1024 * 1024


def check_root(app: App, ground: Ground) -> Iterator[Finding]:
    """Releases and the link are made there."""
    yield try_directory(app.name, app.root, ground)
    releases = app.root / "releases"
    if releases.is_dir():
        yield try_directory(app.name, releases, ground)
        if releases.stat().st_dev != app.root.stat().st_dev:
            what = f"{releases} is on another file system than {app.root}"
            mend = "keep them on one, or a power cut may leave a link to a release that is not whole"
            yield poor(app.name, what, mend)
    elif os.path.lexists(releases):
        mend = f"`mv {releases} {releases}.away`; the agent makes the directory"
        yield wrong(app.name, f"{releases} is no directory", mend)


def check_link(app: App, ground: Ground) -> Iterator[Finding]:
    """The link is replaced by each deploy."""
    link = app.root / "app"
    if not link.is_symlink():
        if os.path.lexists(link):
            mend = f"`mv {link} {link}.away`; the agent makes the link"
            yield wrong(app.name, f"{link} is no symbolic link", mend)
        return
    target = os.readlink(link)
    if os.path.dirname(os.path.normpath(app.root / target)) != str(app.root / "releases"):
        mend = f"move that directory into {app.root}/releases and point the link to it, or `rm {link}`"
        yield wrong(app.name, f"{link} leads to {target}, out of {app.root}/releases", mend)
    elif not link.exists():
        yield poor(app.name, f"{link} leads to {target}, which is not there", "deploy, or roll back")


def check_group(app: App, ground: Ground) -> Iterator[Finding]:
    """The release's files are given to it, which only a member may."""
    try:
        if not app.group:
            gid = app.root.stat().st_gid
        else:
            gid = int(app.group) if app.group.isdecimal() else grp.getgrnam(app.group).gr_gid
    except KeyError:
        yield wrong(app.name, f"there is no group {app.group}", f"`groupadd --system {app.group}`")
        return
    except OSError:
        return  # a root that is not there is told elsewhere
    if os.geteuid() != 0 and gid != os.getegid() and gid not in os.getgroups():
        group, agent = group_name(gid), own_name()
        mend = f"`usermod --append --groups {group} {agent} && systemctl restart dropdeploy`"
        what = f"{agent} is no member of the group {group}, so releases cannot be given to it"
        yield denied(app.name, what, mend) if app.group else poor(app.name, what, mend)


def check_shared(app: App, ground: Ground) -> Iterator[Finding]:
    """Directories are made when missing, files are not."""
    shared = app.root / "shared"
    for entry in app.shared:
        path = shared / entry
        if not entry.endswith("/") and not path.exists():
            mend = f"`touch {path}` and fill it, or take it out of `shared`"
            yield wrong(app.name, f"the shared file {path} is not there", mend)
    if any(entry.endswith("/") and not (shared / entry).is_dir() for entry in app.shared) and shared.is_dir():
        yield try_directory(app.name, shared, ground)


def check_space(app: App, ground: Ground) -> Iterator[Finding]:
    """For at least a small release."""
    for path, what in ((app.root, "releases"), (app.drop, "uploads")):
        if path.is_dir():
            yield from _room(app.name, path, what)


def _room(subject: str, path: Path, for_what: str) -> Iterator[Finding]:
    system = os.statvfs(path)
    free = system.f_bavail * system.f_frsize
    told = f"{free // _MIB} MiB are free in {path} for {for_what}"
    mend = f"make room: `df -h {path}` tells which file system is full"
    if free < LEAST_FREE_BYTES:
        yield wrong(subject, told, mend)
    elif free < COMFORT_BYTES:
        yield poor(subject, told, mend)
    # A file system that does not count its files (btrfs) says 0 of 0.
    if system.f_files and system.f_favail < 1000:
        mend = f"remove files: `df -i {path}` tells which file system has no inodes left"
        yield wrong(subject, f"{path} has room for only {system.f_favail} more files", mend)
