"""What happens in the demo, and that it does happen: each chapter checks what it tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.configured import load
from dropdeploy.cli.demo.builds import make_build
from dropdeploy.cli.demo.narrator import INDENT, Narrator
from dropdeploy.cli.demo.stage import APP, Stage
from dropdeploy.cli.demo.uploading import RATE, SlowCopy, Uploader, UploadError, find_uploader
from dropdeploy.cli.demo.visitors import COUNT, Tally, Visitors, ask
from dropdeploy.cli.following import Request
from dropdeploy.cli.history_table import history_table
from dropdeploy.cli.painting import paint_status
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import Refusal
from dropdeploy.cli.watching import LiveView, watch
from dropdeploy.config.quantity import show_seconds
from dropdeploy.intake.names import MarkerName
from dropdeploy.model.outcome import Outcome, Status

_TIMEOUT_S = 40.0


class NotAsToldError(Exception):
    """Something in the story did not happen; the message says what."""


def play(stage: Stage, narrator: Narrator) -> None:
    """All chapters. Raises NotAsToldError."""
    narrator.begin(stage)
    _expect(stage.is_agent_ready(), "the agent does not start")
    narrator.say(f"the agent runs (pid {stage.agent.pid}); nothing is live yet")
    uploader = find_uploader()
    if isinstance(uploader, SlowCopy):
        narrator.say("no sftp here (Debian: openssh-client, openssh-sftp-server): a slow copy stands in for it")
    chapters = (_slow_upload, _new_version, _broken_version, _second_thoughts)
    for chapter in chapters:
        try:
            chapter(stage, narrator, uploader)
        except (Refusal, UploadError) as error:
            raise NotAsToldError(str(error)) from error
    _look_back(stage, narrator)


# --- chapters ----------------------------------------------------------------------------------------------


def _slow_upload(stage: Stage, narrator: Narrator, uploader: Uploader) -> None:
    narrator.chapter("v1 is uploaded over a slow line, and the line breaks halfway")
    build = make_build(stage.builds, "v1")
    request = Request.about(stage.drop, build.name)
    size = build.stat().st_size
    narrator.say(f"{uploader.name}: {build.name}, {_kib(size)}, at {_kib(RATE)}/s")

    def cut_halfway(arrived: int) -> bool:
        narrator.change(f"{_kib(arrived)} have arrived; the file is still open, so the agent waits")
        return arrived < size // 2

    _expect(not uploader.put(build, stage.drop, rate=RATE, watch=cut_halfway), "the line did not break")
    there = (stage.drop / build.name).stat().st_size
    narrator.say(
        f"the line breaks at {_kib(there)}: the file is closed under its final name, and half of it is missing"
    )
    _let_pass(1.0, stage, lambda: narrator.change("the agent waits for the rest"))
    _expect(request.look() is None, "the agent did not wait for the rest of the upload")
    _expect(not (stage.root / "app").is_symlink(), "half an upload went live")
    narrator.say("the agent has looked: it is not whole, so it waits; nothing is live")

    def tell(arrived: int) -> bool:
        narrator.change(f"the upload goes on: {_kib(arrived)} of {_kib(size)}")
        return True

    uploader.put(build, stage.drop, rate=RATE, watch=tell)
    whole_at = time.time()
    narrator.say("the upload went on where it stopped, and is whole")
    outcome = _follow(stage, narrator, request)
    _expect_live(stage, outcome, Status.DEPLOYED, "v1")
    narrator.say(
        f"http://127.0.0.1:{stage.port}/ says: Hello from v1, {_after(whole_at, outcome)} after the upload ended"
    )


def _new_version(stage: Stage, narrator: Narrator, uploader: Uploader) -> None:
    narrator.chapter(f"v2 is uploaded while {COUNT} visitors ask for the page all the time")
    build = make_build(stage.builds, "v2")
    with Visitors(stage.port) as visitors:
        _let_pass(0.5, stage)
        outcome = _upload(stage, narrator, uploader, build)
        _let_pass(0.5, stage)
    _expect_live(stage, outcome, Status.DEPLOYED, "v2")
    _report_visitors(narrator, visitors.tally)


def _broken_version(stage: Stage, narrator: Narrator, uploader: Uploader) -> None:
    narrator.chapter("v3 is broken: somebody forgot a file, and it answers 500")
    build = make_build(stage.builds, "v3", has_page=False)
    with Visitors(stage.port) as visitors:
        outcome = _upload(stage, narrator, uploader, build)
        _let_pass(0.5, stage)
    _expect_live(stage, outcome, Status.ROLLED_BACK, "v2")
    _report_visitors(narrator, visitors.tally)
    request = Request.about(stage.drop, build.name)
    narrator.say(f"all that the uploader needs to know is in {request.result.name}, beside the upload:")
    told, _, steps = request.result.read_text(encoding="utf-8").partition("\n[[steps]]\n")
    narrator.quote([*told.splitlines(), "", f"(then [[steps]], all {len(outcome.steps)} of them, as above)"])
    _expect("[[steps]]" in steps, f"{request.result.name} does not tell the steps")


def _second_thoughts(stage: Stage, narrator: Narrator, uploader: Uploader) -> None:
    narrator.chapter("v2 works, but v1 was nicer: touch rollback")
    request = Request.about(stage.drop, MarkerName.ROLLBACK)
    (stage.drop / MarkerName.ROLLBACK).touch()
    touched_at = time.time()
    outcome = _follow(stage, narrator, request)
    _expect_live(stage, outcome, Status.DEPLOYED, "v1")
    narrator.say(
        f"http://127.0.0.1:{stage.port}/ says again: Hello from v1, {_after(touched_at, outcome)} after the touch"
    )


def _look_back(stage: Stage, narrator: Narrator) -> None:
    narrator.chapter("What the agent remembers: dropdeploy history")
    with open_history(load(stage.config)) as history:
        outcomes = history.outcomes(APP) if history else ()
    _expect(len(outcomes) == 4, f"the history tells of {len(outcomes)} deploys")
    narrator.quote(history_table(outcomes, narrator.page))


# --- how -----------------------------------------------------------------------------------------------------


def _upload(stage: Stage, narrator: Narrator, uploader: Uploader, build: Path) -> Outcome:
    request = Request.about(stage.drop, build.name)
    uploader.put(build, stage.drop)
    narrator.say(f"{uploader.name}: {build.name} is there")
    return _follow(stage, narrator, request)


def _follow(stage: Stage, narrator: Narrator, request: Request) -> Outcome:
    """Show the agent at work, to its verdict."""
    outcome = watch(
        request,
        LiveView(narrator.screen, APP, INDENT),
        ask_agent=partial(_ask_agent, stage),
        patience_s=_TIMEOUT_S,
        timeout_s=_TIMEOUT_S,
    )
    narrator.say_painted(f"{paint_status(outcome.status, narrator.screen)}: {outcome.summary}")
    return outcome


def _after(moment: float, outcome: Outcome) -> str:
    return show_seconds(outcome.finished.timestamp() - moment)


def _ask_agent(stage: Stage) -> Agent:
    code = stage.agent.poll()
    _expect(code is None, f"the agent ended by itself, with code {code}")
    return Agent.RUNNING


def _let_pass(seconds: float, stage: Stage, meanwhile: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _ask_agent(stage)
        meanwhile()
        time.sleep(0.1)


def _report_visitors(narrator: Narrator, tally: Tally) -> None:
    shares = [
        f"{count} {what} from {version}"
        for (what, version), count in sorted(tally.shares.items(), key=lambda share: share[0][1])
    ]
    narrator.say(
        f"visitors meanwhile: {len(tally.answers)} requests, {len(tally.lost)} failed; {', '.join(shares)}; "
        f"the slowest took {show_seconds(tally.slowest_s)}, while the app restarted"
    )
    for lost in tally.lost[:3]:
        narrator.say(f"failed: {lost.trouble}")


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise NotAsToldError(otherwise)


def _expect_live(stage: Stage, outcome: Outcome, status: Status, version: str) -> None:
    why = f" ({outcome.fault.code}: {outcome.fault.message})" if outcome.fault else ""
    _expect(outcome.status is status, f"expected {status}, but it is {outcome.status}: {outcome.summary}{why}")
    answer = ask(stage.port)
    _expect(
        (answer.status, answer.version) == (200, version),
        f"expected the page from {version}, got {answer.status} from {answer.version or 'nobody'} {answer.trouble}",
    )


def _kib(size: int) -> str:
    return f"{size / 1024:.0f} KiB"
