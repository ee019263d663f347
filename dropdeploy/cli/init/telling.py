"""What ``dropdeploy init`` prints."""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterator

from dropdeploy.cli.init.plan import Change
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Thing
from dropdeploy.cli.init.wish import SSHD_KEYS, Wish


def describe(thing: Thing) -> str:
    """A thing in a few words."""
    match thing:
        case Account(name, home):
            return f"user {name} (no login, home {home})"
        case Group(name):
            return f"group {name}"
        case Membership(user, group):
            return f"{user} in the group {group}"
        case Directory(path, owner, group, mode):
            return f"{path}/ ({owner}:{group} {mode:04o})"
        case File(path, group=group, mode=mode):
            return f"{path} (root:{group} {mode:04o})"
        case Enabled(unit):
            return f"{unit} starts with the machine"


def change_lines(change: Change, *, in_full: bool) -> Iterator[str]:
    """One line a change, and the text of a file if it is told in full."""
    yield f"{'+' if change.before is None else '~'} {describe(change.after)}"
    if in_full and isinstance(change.after, File):
        before = change.before.text.splitlines() if isinstance(change.before, File) else []
        lines = difflib.unified_diff(before, change.after.text.splitlines(), lineterm="", n=1)
        yield from (f"    {line}" for line in list(lines)[2:] if not line.startswith("@@"))


def next_lines(wish: Wish, uploader: str, *, has_key: bool) -> Iterator[str]:
    """What is left to do, in commands."""
    host = socket.gethostname()
    if not has_key:
        yield f"{uploader} has no key yet. Give it the one that the uploader made with ssh-keygen:"
        yield f"    dropdeploy init {wish.app} --uploader {uploader} --key FILE.pub"
        yield f"or  install -m 0644 FILE.pub {SSHD_KEYS / uploader}"
        yield ""
    yield f"{wish.app} is ready for uploads. Whoever has the key of {uploader} deploys with"
    yield f"    scp build.tar.gz {uploader}@{host}:"
    yield "and reads what became of it with"
    yield f"    scp {uploader}@{host}:build.tar.gz.result.toml ."
