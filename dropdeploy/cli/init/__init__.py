"""``dropdeploy init``: survey, plan, show, make, tell. What is to be done is a value before anything is."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from dropdeploy.cli.init.apply import ApplyError, make, stop_agent, take_back, tell
from dropdeploy.cli.init.look import contents, look_at, members
from dropdeploy.cli.init.plan import Leftover, Plan, plan_changes, plan_undo
from dropdeploy.cli.init.record import Record, other_records, read_record, write_record
from dropdeploy.cli.init.survey import has_agent_unit, is_root, survey
from dropdeploy.cli.init.telling import change_lines, describe, next_lines
from dropdeploy.cli.init.things import Thing
from dropdeploy.cli.init.wanted import wanted_things
from dropdeploy.cli.init.wish import SSHD_KEYS, Wish
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import plain, standard_output


def run(asked: argparse.Namespace) -> int:
    """Make what is missing, or take back what was made."""
    asked.config = asked.config.absolute()
    if not is_root():
        raise Refusal(
            ExitCode.UNAVAILABLE, f"init reads and writes what is root's: `sudo dropdeploy init {asked.app} …`"
        )
    return _undo(asked) if asked.undo else _init(asked)


def _init(asked: argparse.Namespace) -> int:
    kept = read_record(asked.config, asked.app)
    wish, ground, templates = survey(asked, kept.made)
    wanted = wanted_things(wish, ground, templates)
    plan = plan_changes(wanted, look_at(wanted), kept.made)
    if plan.obstacles:
        lines = (f"{obstacle.what}: {obstacle.mend}" for obstacle in plan.obstacles)
        raise Refusal(ExitCode.USAGE, *lines, "nothing was changed")
    _show(plan, in_full=asked.dry_run)
    if asked.dry_run:
        return ExitCode.DONE
    _make(asked.config, wish, wanted, plan, kept)
    _show_next(wish)
    return ExitCode.DONE


def _show(plan: Plan, *, in_full: bool) -> None:
    output = standard_output()
    for change in plan.changes:
        for line in change_lines(change, in_full=in_full):
            output.line(plain(line))
    if not plan.changes:
        output.line("nothing to do: all of it is there")
    elif in_full:
        output.line("nothing was changed: this was a dry run")


def _make(directory: Path, wish: Wish, wanted: tuple[Thing, ...], plan: Plan, kept: Record) -> None:
    """Each change is in the record before it is made: whatever interrupts this, --undo knows of it."""
    needs = tuple(dict.fromkeys((*kept.needs, *(thing.place for thing in wanted))))
    made = {thing.place: thing for thing in kept.made}
    try:
        for change in plan.changes:
            made[change.after.place] = change.after
            if directory.is_dir():
                write_record(directory, wish.app, Record(tuple(made.values()), needs))
            make(change.after)
        write_record(directory, wish.app, Record(tuple(made.values()), needs))
        tell((change.after for change in plan.changes), is_agent_there=True)
    except (ApplyError, OSError) as error:
        raise Refusal(
            ExitCode.UNAVAILABLE,
            str(error),
            f"run this again when that is mended; `dropdeploy init {wish.app} --undo` takes back what was made so far",
        ) from error


def _show_next(wish: Wish) -> None:
    output = standard_output()
    uploader = wish.uploader or members(wish.uploaders)[0]
    output.line()
    for line in next_lines(wish, uploader, has_key=(SSHD_KEYS / uploader).exists()):
        output.line(line)


def _undo(asked: argparse.Namespace) -> int:
    directory, app = asked.config, asked.app
    output = standard_output()
    kept = read_record(directory, app)
    if not kept.made:
        output.line(f"nothing to take back: init has made nothing for {app}")
        return ExitCode.DONE
    others = other_records(directory, app)
    needed = {place: name for name, other in others.items() for place in other.needs}
    gone, stays = plan_undo(kept.made, look_at(kept.made), contents(kept.made), needed)
    for thing in gone:
        output.line(plain(f"- {describe(thing)}"))
    is_agent_active = not asked.dry_run and stop_agent()
    stays += [] if asked.dry_run else _take_back(gone)
    for leftover in stays:
        output.line(plain(f"  {describe(leftover.thing)} stays: {leftover.why}"))
    if asked.dry_run:
        output.line("nothing was changed: this was a dry run")
        return ExitCode.DONE
    left = [leftover.thing for leftover in stays]
    _pass_on(directory, app, tuple(thing for thing in kept.made if thing in left), needed)
    if any(thing.place not in needed for thing in left):
        output.line("Remove or mend what is not wanted, and run this again for the rest.")
    try:
        tell((thing for thing in gone if thing not in left), is_agent_there=is_agent_active and has_agent_unit())
    except ApplyError as error:
        raise Refusal(ExitCode.UNAVAILABLE, str(error)) from error
    return ExitCode.DONE


def _take_back(gone: list[Thing]) -> list[Leftover]:
    """Take all of it back that can be; returns the rest."""
    stays: list[Leftover] = []
    for thing in gone:
        try:
            take_back(thing)
        except (ApplyError, OSError) as error:
            stays.append(Leftover(thing, str(error)))
    return stays


def _pass_on(directory: Path, app: str, left: tuple[Thing, ...], needed: dict[str, str]) -> None:
    """What another app needs is from now on its to take back; the rest waits here until it can go."""
    for thing in left:
        if other := needed.get(thing.place):
            heir = read_record(directory, other)
            if thing.place not in {each.place for each in heir.made}:
                write_record(directory, other, replace(heir, made=(thing, *heir.made)))
    rest = tuple(thing for thing in left if thing.place not in needed)
    if directory.is_dir():
        write_record(directory, app, Record(rest, ()))
