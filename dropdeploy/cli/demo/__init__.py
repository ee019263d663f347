"""``dropdeploy demo``: the whole story on this machine, with the real agent, a real app and real uploads."""

from __future__ import annotations

import argparse
import signal

from dropdeploy.cli.demo.narrator import Narrator
from dropdeploy.cli.demo.stage import Stage
from dropdeploy.cli.demo.story import NotAsToldError, play
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import standard_output


def run(asked: argparse.Namespace) -> int:
    """Tell the story; returns 0 when everything happened as it is told. Nothing is left behind, however it ends."""
    narrator = Narrator(standard_output())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # ends as Ctrl-C does: by way of the cleaning up
    with Stage() as stage:
        try:
            play(stage, narrator)
            if asked.keep:
                _keep(stage, narrator)
            code = ExitCode.DONE
        except NotAsToldError as error:
            narrator.complain(str(error), stage.agent_log())
            code = ExitCode.NOT_DEPLOYED
        except KeyboardInterrupt:
            narrator.break_off()
            code = ExitCode.INTERRUPTED
    remains = stage.remains()
    narrator.end(stage.directory, stage.port, remains, as_told=code is ExitCode.DONE)
    return ExitCode.NOT_DEPLOYED if remains and code is ExitCode.DONE else code


def _keep(stage: Stage, narrator: Narrator) -> None:
    """Leave it running until Ctrl-C."""
    narrator.invite(stage)
    try:
        code = stage.agent.wait()
    except KeyboardInterrupt:
        narrator.break_off()
        return
    raise NotAsToldError(f"the agent ended by itself, with code {code}")
