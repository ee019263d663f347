"""Watches a request until it is answered, and shows it: on a terminal in place, elsewhere line by line."""

from __future__ import annotations

import time
from collections.abc import Callable

from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.following import Progress, Request
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import Colour, Screen, plain
from dropdeploy.cli.tables import cut, pad
from dropdeploy.config.quantity import show_seconds
from dropdeploy.model.outcome import Outcome, Step, StepName, StepStatus

POLL_S = 0.1
NOTICEABLE_S = 1.0
AGENT_IS_AWAY_AFTER_S = 10.0
"""An agent that is restarted, for an upgrade say, takes the request up again: for so long its absence is no news."""

_NAME_WIDTH = max(len(name) for name in StepName)
_TIME_WIDTH = len("0.001 s")
_MARKS = {
    StepStatus.OK: ("✓", Colour.GOOD),
    StepStatus.FAILED: ("✗", Colour.BAD),
    StepStatus.SKIPPED: ("-", Colour.FAINT),
}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class LiveView:
    """The steps of one request on a screen: one line each, the one in progress rewritten in place on a terminal."""

    def __init__(self, screen: Screen, app: str, indent: int = 0) -> None:
        self._screen = screen
        self._app = app
        self._indent = " " * indent
        self._shown = 0
        self._doing = ""
        self._since = time.monotonic()
        self._turns = 0

    def show(self, progress: Progress) -> None:
        """How far it is now."""
        self._finish(progress.done)
        if progress.step != self._doing:
            self._doing, self._since = progress.step, time.monotonic()
            if not self._screen.is_live and (note := self._note(progress.step)):
                self._screen.line(f"{self._indent}{note}")
        if self._screen.is_live:
            self._rewrite(self._current(progress))

    def close(self, steps: tuple[Step, ...] = ()) -> None:
        """The line in progress goes; steps that were too quick to be seen are added."""
        self._finish(steps)
        if self._screen.is_live:
            self._screen.write("\r\x1b[K")

    def _finish(self, steps: tuple[Step, ...]) -> None:
        for step in steps[self._shown :]:
            if self._screen.is_live:
                self._screen.write("\r\x1b[K")
            self._screen.line(self._finished(step))
            self._since = time.monotonic()
        self._shown = max(self._shown, len(steps))

    def _finished(self, step: Step) -> str:
        mark, colour = _MARKS[step.status]
        words = "ok" if step.status is StepStatus.OK else step.status.upper()
        sign = self._screen.paint(mark, colour) if self._screen.is_live and self._screen.has_marks else pad(words, 7)
        took = pad(show_seconds(step.seconds), _TIME_WIDTH, to_the_right=True)
        line = f"  {pad(step.name, _NAME_WIDTH)}  {took}  {plain(step.detail)}".rstrip()
        room = self._screen.width
        return f"{self._indent}{sign}{cut(line, room - 2 - len(self._indent)) if room else line}"

    def _current(self, progress: Progress) -> str:
        self._turns += 1
        sign = self._screen.mark(_SPINNER[self._turns % len(_SPINNER)], "|/-\\"[self._turns % 4])
        if note := self._note(progress.step):
            return f"{sign}  {note}"
        took = pad(f"{time.monotonic() - self._since:.1f} s", _TIME_WIDTH, to_the_right=True)
        percent = f"{progress.percent:.0f} %" if progress.percent is not None else ""
        return f"{sign}  {pad(progress.step, _NAME_WIDTH)}  {took}  {percent}".rstrip()

    def _note(self, step: str) -> str:
        """What to say while nothing is worked on; empty for a step."""
        match step:
            case "held":
                app = self._app
                return f"held: it goes on when the file `hold` is removed, or with `dropdeploy unhold {app}`"
            case "queued":
                return "queued: what came before goes first"
            case _:
                return "" if step in frozenset(StepName) else plain(step)

    def _rewrite(self, line: str) -> None:
        self._screen.write(f"\r\x1b[K{cut(self._indent + line, (self._screen.width or 80) - 1)}")


def watch(
    request: Request, view: LiveView, *, ask_agent: Callable[[], Agent], patience_s: float, timeout_s: float
) -> Outcome:
    """Follow a request to its answer, showing it meanwhile.

    Raises a Refusal when ``timeout_s`` is over, when the agent is gone, or, where one cannot know that, when it has not
    noticed the request for ``patience_s``.
    """
    began = last_sign = time.monotonic()
    while True:
        found = request.look()
        now = time.monotonic()
        if isinstance(found, Outcome):
            view.close(found.steps)
            return found
        agent = ask_agent()
        if agent is Agent.RUNNING or (agent is Agent.UNKNOWN and (found is not None or request.others())):
            last_sign = now
        if found is not None or now - began > NOTICEABLE_S:
            view.show(found or Progress(_waiting(request)))
        if now - last_sign > (AGENT_IS_AWAY_AFTER_S if agent is Agent.STOPPED else patience_s):
            view.close()
            raise Refusal(ExitCode.UNAVAILABLE, *_nobody(request, agent))
        if now - began > timeout_s:
            view.close()
            what = f"not decided after {show_seconds(timeout_s)}; it goes on"
            raise Refusal(ExitCode.NOT_DEPLOYED, f"{request.name}: {what}: {_where(request)}")
        time.sleep(POLL_S)


def interrupted(request: Request) -> str:
    """What to say when the watcher, and only the watcher, was stopped."""
    return f"{request.name}: no longer watched; the agent goes on with it: {_where(request)}"


def _waiting(request: Request) -> str:
    others = request.others()
    return f"waiting for {', '.join(others)}" if others else "waiting for the agent"


def _where(request: Request) -> str:
    return f"the result will be in {request.result}"


def _nobody(request: Request, agent: Agent) -> tuple[str, ...]:
    if agent is Agent.STOPPED:
        return (f"{request.name}: the agent has stopped; it takes this up again when it runs: {_where(request)}",)
    return (
        f"{request.name}: nobody has taken it up: is the agent running? Look with `systemctl status dropdeploy`",
        f"it waits in {request.drop} and will be taken when the agent runs",
    )
