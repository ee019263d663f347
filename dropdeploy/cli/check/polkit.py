"""What polkit lets the agent's user do with the apps' units: polkit is asked about each unit and verb (pkcheck(1))."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dropdeploy import datafiles
from dropdeploy.cli.check.findings import Finding, denied, good, poor
from dropdeploy.cli.check.place import Place
from dropdeploy.cli.check.systemctl import Facts
from dropdeploy.cli.check.units import Named, Role, app_template, sockets_of_app, units_of
from dropdeploy.cli.init.look import account_named
from dropdeploy.cli.init.wish import POLKIT_RULES
from dropdeploy.cli.programs import tell
from dropdeploy.model.app import App
from dropdeploy.model.config import Config

ACTION = "org.freedesktop.systemd1.manage-units"
# What the agent asks of units of each kind; "reset-failed" goes before every start and restart.
VERBS: Mapping[Role, tuple[str, ...]] = {
    Role.UNIT: ("start", "stop", "restart", "reload", "reset-failed"),
    Role.INSTANCE: ("start", "stop", "restart", "reset-failed"),
    Role.SOCKET: ("start", "reset-failed"),
    Role.TRIAL: ("start", "stop", "reset-failed"),
    Role.HOOK: ("start", "stop", "reset-failed"),
    Role.MAIL: ("start",),
}
_BESIDE = (Role.MAIL, Role.SOCKET)
"""Deploys go well without them, most of the time."""
_AUTHORISED = 0
_NOT_INSTALLED = 127
_ANSWERS = (0, 1, 2, 3)  # yes, no, with a password, dismissed
_MAIL_RULES = "dropdeploy-mail.rules"


@dataclass(frozen=True, slots=True)
class Question:
    """May the agent do this with that unit?"""

    named: Named
    verb: str


def check_polkit(config: Config, place: Place, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """One finding an app. Root asks, about a process of the agent's user: only root may name unit and verb."""
    account = account_named(place.user)
    if account is None or account.pw_uid == 0:
        return
    managed = {app: tuple(dict.fromkeys((*units_of(app), *sockets_of_app(app, facts)))) for app in config.apps}
    questions = [Question(named, verb) for units in managed.values() for named in units for verb in VERBS[named.role]]
    with _Somebody(account.pw_uid, account.pw_gid) as pid, ThreadPoolExecutor(4) as pool:
        codes = dict(
            zip(questions, pool.map(lambda question: _ask(pid, account.pw_uid, question), questions), strict=True)
        )
    if unusable := [code for code in codes.values() if code not in _ANSWERS]:
        installs = unusable[0] == _NOT_INSTALLED
        mend = "`apt install polkitd`" if installs else "`systemctl status polkit` says why"
        yield denied("polkit", "polkit does not answer, so the agent may start and stop nothing", mend)
        return
    refused = [question for question, code in codes.items() if code != _AUTHORISED]
    for app, units in managed.items():
        yield from _of_app(app, units, refused, place.user)


def _of_app(app: App, units: tuple[Named, ...], refused: list[Question], user: str) -> Iterator[Finding]:
    missing = {named: [question.verb for question in refused if question.named == named] for named in units}
    missing = {named: verbs for named, verbs in missing.items() if verbs}
    if not missing:
        yield good(app.name, f"polkit lets {user} manage {', '.join(app_template(named.unit) for named in units)}")
    for named, verbs in missing.items():
        unit = app_template(named.unit)
        tell_level = poor if named.role in _BESIDE else denied
        mend = _mend(app, units, named, len(verbs))
        yield tell_level(app.name, f"polkit does not let {user} {_listed(verbs)} {unit}", mend)


def _mend(app: App, every: tuple[Named, ...], named: Named, refused: int) -> str:
    """A command that changes the app's rule, as ``init`` and the template write it; a sentence for any other."""
    if named.role is Role.MAIL:
        return f"`install -m 0644 {datafiles.find('polkit')}/{_MAIL_RULES} {POLKIT_RULES}/50-{_MAIL_RULES}`"
    rule = POLKIT_RULES / f"50-dropdeploy-{app.name}.rules"
    unit = app_template(named.unit)
    try:
        text = rule.read_text()
    except OSError:
        units = ", ".join(f'"{app_template(each.unit)}"' for each in every if each.role is not Role.MAIL)
        template = datafiles.find("polkit") / "dropdeploy-app.rules.in"
        return f"`sed 's|@APP@|{app.name}|g; s|@UNITS@|{units}|' {template} > {rule}`"
    listed = re.search(r"var units = \[(.*)\]", text)
    if listed and f'"{unit}"' not in listed[1]:
        return f"""`sed -i 's|var units = \\[|&"{unit}", |' {rule}`"""
    if "var verbs = [" in text and refused < len(VERBS[named.role]):
        verbs = ", ".join(f'"{verb}"' for verb in VERBS[Role.UNIT])
        return f"`sed -i 's|var verbs = .*|var verbs = [{verbs}];|' {rule}`"
    return f"{rule}, or a rule before it, says otherwise: `journalctl -u polkit` tells of mistakes in rules"


def _ask(pid: int, uid: int, question: Question) -> int:
    process = f"{pid},{_started(pid)},{uid}"
    details = ("--detail", "unit", question.named.unit, "--detail", "verb", question.verb)
    return tell("pkcheck", "--action-id", ACTION, "--process", process, *details).code


def _started(pid: int) -> str:
    """proc(5), stat: field 22, counted after the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _listed(verbs: list[str]) -> str:
    return verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])} or {verbs[-1]}"


class _Somebody:
    """A process of this user, that does nothing; its pid."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid, self._gid = uid, gid

    def __enter__(self) -> int:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.setgroups([])
            os.setresgid(self._gid, self._gid, self._gid)
            os.setresuid(self._uid, self._uid, self._uid)
            os.write(writing, b"1")
            while True:
                signal.pause()
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        return self._pid

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
