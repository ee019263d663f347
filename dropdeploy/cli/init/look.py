"""How each thing is on this server."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from dropdeploy.cli.init.plan import Odd
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Thing
from dropdeploy.cli.programs import tell


def look_at(things: Iterable[Thing]) -> dict[str, Thing | Odd | None]:
    """Each place as it is now: the thing, None where there is nothing, Odd where there is something else."""
    return {thing.place: _look(thing) for thing in things}


def contents(things: Iterable[Thing]) -> dict[Path, frozenset[str]]:
    """The names in each of the directories."""
    paths = [thing.path for thing in things if isinstance(thing, Directory)]
    return {path: frozenset(os.listdir(path)) if path.is_dir() else frozenset() for path in paths}


def user_name(uid: int) -> str:
    """The user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The group's name, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def account_named(name: str) -> pwd.struct_passwd | None:
    """The account of this name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def members(group: str) -> list[str]:
    """Who has this group as a supplementary one."""
    try:
        return list(grp.getgrnam(group).gr_mem)
    except KeyError:
        return []


def is_enabled(unit: str) -> bool:
    """As systemctl(1) says."""
    return tell("systemctl", "is-enabled", "--", unit).out.strip() == "enabled"


def _look(thing: Thing) -> Thing | Odd | None:
    match thing:
        case Account(name):
            account = account_named(name)
            return Account(name, account.pw_dir, account.pw_shell) if account else None
        case Group(name):
            try:
                grp.getgrnam(name)
            except KeyError:
                return None
            return thing
        case Membership(user, group):
            account = account_named(user)
            is_primary = account is not None and group_name(account.pw_gid) == group
            return thing if is_primary or user in members(group) else None
        case Enabled(unit):
            return thing if is_enabled(unit) else None
        case Directory() | File():
            return _look_at_path(thing)


def _look_at_path(thing: Directory | File) -> Thing | Odd | None:
    try:
        status = thing.path.stat() if isinstance(thing, Directory) else thing.path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    mode = stat.S_IMODE(status.st_mode)
    if isinstance(thing, Directory):
        if not stat.S_ISDIR(status.st_mode):
            return Odd(f"{thing.path} is no directory")
        return Directory(thing.path, user_name(status.st_uid), group_name(status.st_gid), mode)
    if not stat.S_ISREG(status.st_mode):
        return Odd(f"{thing.path} is no regular file")
    text = thing.path.read_text(errors="surrogateescape")
    return File(thing.path, text, group_name(status.st_gid), mode)
