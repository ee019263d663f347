"""Makes a thing, and takes it back, with the system's own programs; then tells those that must know."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dropdeploy.cli import programs
from dropdeploy.cli.init.record import write_file
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Thing
from dropdeploy.cli.init.wish import AGENT_UNIT, SSHD_BLOCKS, SYSTEM_UNITS

RESTART_TIMEOUT_S = 180.0  # a deploy in progress is waited for
LOGOUT_TIMEOUT_S = 10.0


class ApplyError(Exception):
    """Something could not be done; the message says what, and what the program that should do it said."""


def make(thing: Thing) -> None:
    """Make it. It is not there, or is a file of ``init``'s own with another text. Raises ApplyError."""
    match thing:
        case Account(name, home, shell):
            has_group = any(group.gr_name == name for group in grp.getgrall())
            groups = ["--gid", name] if has_group else ["--user-group"]
            call("useradd", "--system", *groups, "--no-create-home", "--home-dir", home, "--shell", shell, name)
        case Group(name):
            call("groupadd", "--system", name)
        case Membership(user, group):
            call("usermod", "--append", "--groups", group, user)
        case Directory():
            _make_directory(thing)
        case File(path, text, group, mode):
            before = path.read_text() if path.exists() else None
            write_file(path, text, mode, grp.getgrnam(group).gr_gid)
            if path.parent == SSHD_BLOCKS:
                _check_sshd(thing, before)
        case Enabled(unit):
            call("systemctl", "daemon-reload")
            call("systemctl", "--quiet", "enable", "--", unit)


def take_back(thing: Thing) -> None:
    """Unmake it. Raises ApplyError."""
    match thing:
        case Account(name):
            _remove_account(name)
        case Group(name):
            call("groupdel", name)
        case Membership(user, group):
            call("gpasswd", "--delete", user, group)
        case Directory(path, disposable=disposable):
            for name in disposable:
                (path / name).unlink(missing_ok=True)
            _remove(path)
        case File(path):
            if path.parent == SYSTEM_UNITS:
                _stop(path.name)
            path.unlink(missing_ok=True)
        case Enabled(unit):
            call("systemctl", "--quiet", "disable", "--now", "--", unit)


def tell(changed: Iterable[Thing], *, is_agent_there: bool) -> None:
    """systemd, sshd and the agent take up what has changed. Raises ApplyError."""
    changed = list(changed)
    files = [thing.path for thing in changed if isinstance(thing, File)]
    if any(path.is_relative_to(SYSTEM_UNITS) for path in files):
        call("systemctl", "daemon-reload")
    if any(path.parent == SSHD_BLOCKS for path in files):
        # A reload closes the port for a moment, and does not tell when it is open again. Sessions go on either way.
        call("systemctl", "try-restart", "ssh.service")
    if changed and is_agent_there:
        # Groups and mounts of a process are those of its start.
        call("systemctl", "reset-failed", AGENT_UNIT)
        call("systemctl", "restart", AGENT_UNIT)


def stop_agent() -> bool:
    """Before its apps' directories go; returns whether it ran."""
    try:
        call("systemctl", "is-active", "--quiet", AGENT_UNIT)
    except ApplyError:
        return False
    call("systemctl", "stop", AGENT_UNIT)
    return True


def call(*command: str) -> str:
    """Run a program; returns what it printed. Raises ApplyError with its own words."""
    told = programs.tell(*command, timeout_s=RESTART_TIMEOUT_S)
    if told.code != 0:
        said = told.err.strip() or told.out.strip() or f"exit code {told.code}"
        raise ApplyError(f"`{' '.join(command)}`: {said}")
    return told.out


def _make_directory(wanted: Directory) -> None:
    """Never through a name again once it is made: its parent may be the agent's, who could put a link there."""
    wanted.path.mkdir(mode=0o700)
    fd = os.open(wanted.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, pwd.getpwnam(wanted.owner).pw_uid, grp.getgrnam(wanted.group).gr_gid)
        os.fchmod(fd, wanted.mode)
    finally:
        os.close(fd)


def _check_sshd(block: File, before: str | None) -> None:
    """Nothing of it is in force before sshd is told. What sshd does not take is taken away again."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it even to check, and makes it when it is started
    try:
        call("sshd", "-t")
        _check_chroot(block)
    except ApplyError:
        block.path.unlink()
        if before is not None:
            write_file(block.path, before, block.mode)
        raise


def _check_chroot(block: File) -> None:
    """A block that is never read would leave its user unconfined."""
    user = block.path.stem.removeprefix("dropdeploy-")
    chroot = next(line.split()[1] for line in block.text.splitlines() if line.split()[:1] == ["ChrootDirectory"])
    shown = call("sshd", "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1")
    if f"chrootdirectory {chroot}" not in shown.splitlines():
        raise ApplyError(
            f"sshd does not take {block.path} up: /etc/ssh/sshd_config needs the line "
            f'"Include {SSHD_BLOCKS}/*.conf" at its top, and nothing before it that says otherwise'
        )


def _stop(unit: str) -> None:
    """Of a template every instance: a release that was handed over to runs in one."""
    units = unit.replace("@.", "@*.")
    call("systemctl", "stop", "--", units)
    with suppress(ApplyError):  # most often there is nothing to be forgotten
        call("systemctl", "reset-failed", "--", units)


def _remove_account(name: str) -> None:
    """The user's own systemd outlives a log-in by ten seconds, and userdel(8) takes no user who runs anything."""
    with suppress(ApplyError):
        call("loginctl", "terminate-user", name)
    deadline = time.monotonic() + LOGOUT_TIMEOUT_S
    while True:
        try:
            call("userdel", name)
        except ApplyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _remove(path: Path) -> None:
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ApplyError(f"{path}: {error.strerror}") from error
