"""Tries to write in a directory as the agent will, and says what to do about what the kernel answers."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, denied, good, wrong
from dropdeploy.cli.check.ground import Ground, own_name, owner_text
from dropdeploy.cli.init.wish import AGENT_UNIT, SYSTEM_UNITS

_PROBE = ".dropdeploy-check-"


def try_directory(subject: str, path: Path, ground: Ground, *, is_read: bool = False) -> Finding:
    """Make a directory in ``path`` and remove it again; with ``is_read`` list it too."""
    if not path.is_dir():
        return unseen(subject, path, ground)
    probe = path / f"{_PROBE}{secrets.token_hex(4)}"
    try:
        if is_read:
            os.listdir(path)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return _refused(subject, path, ground, error)
    return good(subject, f"{path} is {'readable and ' if is_read else ''}writable")


def unseen(subject: str, path: Path, ground: Ground) -> Finding:
    """It is there, and not for the agent."""
    if ground.is_in_its_place:
        return denied(subject, f"{path} is hidden from the agent by its unit", show_to_agent(subject, path))
    return wrong(subject, f"there is no directory {path}", f"`install -d -o {own_name()} {path}`")


def show_to_agent(app: str, path: Path) -> str:
    """How the agent's unit is made to show it a path, for reading and writing."""
    drop_ins = SYSTEM_UNITS / f"{AGENT_UNIT}.d"
    lines = f"printf '[Service]\\nBindPaths=-{path}\\n' >> {drop_ins}/app-{app}.conf"
    return f"`install -d {drop_ins} && {lines} && systemctl daemon-reload && systemctl restart {AGENT_UNIT}`"


def _refused(subject: str, path: Path, ground: Ground, error: OSError) -> Finding:
    agent = own_name()
    match error.errno:
        case errno.EACCES:
            what = f"{agent} may not write in {path}, which belongs to {owner_text(path)}"
            return denied(subject, what, f"`chown {agent} {path} && chmod u+rwx {path}`")
        case errno.EPERM:
            return denied(subject, f"{path} takes no changes: it is immutable", f"`chattr -i -a {path}`")
        case errno.EROFS if ground.is_in_its_place and not _is_on_read_only_file_system(path):
            what = f"{path} is read-only for the agent: its unit does not list it"
            return denied(subject, what, show_to_agent(subject, path))
        case errno.EROFS:
            mend = f"`mount -o remount,rw {_mount_point(path)}`, and see why it was mounted so"
            return denied(subject, f"{path} is on a file system that is mounted read-only", mend)
        case errno.ENOSPC | errno.EDQUOT:
            mend = f"`df -h {path}` and `df -i {path}` tell what is full"
            return wrong(subject, f"{path} takes nothing more: {error.strerror}", mend)
        case _:
            return wrong(subject, f"{path} takes nothing: {error.strerror}", f"see `findmnt --target {path}`")


def _is_on_read_only_file_system(path: Path) -> bool:
    """For everybody, and not only for this process's view (proc(5), mountinfo: the options of the superblock)."""
    device = path.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == name:
            return fields[-1].split(",")[0] == "ro"
    return False


def _mount_point(path: Path) -> Path:
    while not path.is_mount():
        path = path.parent
    return path
