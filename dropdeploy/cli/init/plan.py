"""What is wanted, what is there and what was made before → what to do, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Need, Thing


@dataclass(frozen=True, slots=True)
class Odd:
    """What is at a place where a thing should be, and is no such thing."""

    what: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing, as it is (None: it is not there) and as it will be."""

    before: Thing | None
    after: Thing


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something of the administrator's that differs from what is wanted, and what to do about it."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order in which they are made; none is, while there are obstacles."""

    changes: tuple[Change, ...]
    obstacles: tuple[Obstacle, ...]


Found = Mapping[str, Thing | Odd | None]
"""Each place as it is."""


def plan_changes(wanted: Sequence[Thing], found: Found, made: Sequence[Thing]) -> Plan:
    """The way from ``found`` to ``wanted``.

    A file is written over only if ``init`` made it and it is as it was made. One that somebody changed since is right
    as it is, unless what is wanted has changed too.
    """
    before = {thing.place: thing for thing in made}
    changes: list[Change] = []
    obstacles: list[Obstacle] = []
    for thing in {thing.place: thing for thing in wanted}.values():
        there = found[thing.place]
        if there is None:
            changes.append(Change(None, thing))
        elif isinstance(there, Odd):
            obstacles.append(Obstacle(there.what, "move it away, or choose another place"))
        elif is_enough(thing, there) or (isinstance(thing, File) and thing == before.get(thing.place)):
            continue
        elif isinstance(thing, File) and there == before.get(thing.place):
            changes.append(Change(there, thing))
        else:
            obstacles.append(_obstacle(thing, there))
    return Plan(tuple(changes), tuple(obstacles))


def is_enough(wanted: Thing, there: Thing) -> bool:
    """Whether a thing that is there will do as it is."""
    match wanted, there:
        case Directory(need=Need.EXIST), _:
            return True
        case Directory(need=Need.MATCH), Directory():
            owners_match = (there.owner, there.group) == (wanted.owner, wanted.group)
            return owners_match and there.mode & wanted.mode == wanted.mode
        case Directory(need=Need.ROOT_ONLY), Directory():
            return there.owner == "root" and not there.mode & 0o022
        case File(), File():
            return there.text == wanted.text
        case Account(), Account():
            return True
        case _:
            return there == wanted


def _obstacle(wanted: Thing, there: Thing) -> Obstacle:
    match wanted, there:
        case Directory(), Directory():
            is_chroot = wanted.need is Need.ROOT_ONLY
            owners = "root:root" if is_chroot else f"{wanted.owner}:{wanted.group}"
            mode = f"{'go-w' if is_chroot else format(wanted.mode, '04o')}"
            why = " (sshd insists that a chroot and all above it are root's alone)" if is_chroot else ""
            return Obstacle(
                f"{wanted.path} belongs to {there.owner}:{there.group} and has mode {there.mode:04o}{why}",
                f"`chown {owners} {wanted.path} && chmod {mode} {wanted.path}`, or choose another directory",
            )
        case File(), _:
            return Obstacle(
                f"{wanted.path} is there and says something else",
                "move it away and run this again, or make it say what --dry-run shows without it",
            )
        case ((Group() | Membership() | Enabled() | Account() | Directory()), _):
            raise AssertionError(f"{there} differs from {wanted}, which has nothing to differ in")


@dataclass(frozen=True, slots=True)
class Leftover:
    """What ``init`` made and does not take back, and why."""

    thing: Thing
    why: str


def plan_undo(
    made: Sequence[Thing], found: Found, contents: Mapping[Path, frozenset[str]], needed: Mapping[str, str]
) -> tuple[list[Thing], list[Leftover]]:
    """What to take back, last made first, and what stays.

    ``contents`` are the names in each directory, ``needed`` places that another app needs too, and which.
    """
    gone: list[Thing] = []
    stays: list[Leftover] = []
    keepers: dict[str, str] = {}  # whose directory stays
    for thing in reversed(made):
        there = found[thing.place]
        if there is None:
            continue
        if thing.place in needed:
            stays.append(Leftover(thing, f"the app {needed[thing.place]} needs it too"))
        elif why := _why_it_stays(thing, there, keepers):
            stays.append(Leftover(thing, why))
        elif rest := _rest(thing, contents, gone):
            stays.append(Leftover(thing, f"it holds {', '.join(sorted(rest)[:3])}{' …' if len(rest) > 3 else ''}"))
        else:
            gone.append(thing)
            continue
        if isinstance(thing, Directory):
            keepers |= {name: str(thing.path) for name in (thing.owner, thing.group)}
    return gone, stays


def _rest(thing: Thing, contents: Mapping[Path, frozenset[str]], gone: Sequence[Thing]) -> frozenset[str]:
    """What would be left in a directory when all of ``gone`` is gone."""
    if not isinstance(thing, Directory):
        return frozenset()
    going = {each.path.name for each in gone if isinstance(each, Directory | File) and each.path.parent == thing.path}
    return contents[thing.path] - going - set(thing.disposable)


def _why_it_stays(made: Thing, there: Thing | Odd, keepers: Mapping[str, str]) -> str:
    match made, there:
        case ((Account() | Group()), _) if made.name in keepers:
            return f"{keepers[made.name]} stays, which belongs to it"
        case Directory(), Directory():
            same = (made.owner, made.group, made.mode) == (there.owner, there.group, there.mode)
            return "" if same else "it was changed"
        case File(), File():
            return "" if made.text == there.text else "it was changed"
        case _:
            return "it was changed" if isinstance(there, Odd) else ""
