"""``dropdeploy notify-mail``: what dropdeploy-mail@.service runs for the agent, which may not run sendmail itself."""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess

from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import plain, standard_output
from dropdeploy.report.mail import compose_mail

SENDMAIL_PLACES = "/usr/local/sbin:/usr/sbin:/usr/lib:/usr/local/bin:/usr/bin:/bin"
"""Where sendmail is (FHS 3.0, 3.9 and 4.7); a user's PATH may lack it."""


def run(asked: argparse.Namespace) -> int:
    """Hand the mail about one deploy to sendmail, or print it."""
    config = load(asked.config)
    with open_history(config) as history:
        outcome = history.outcome(asked.deploy) if history else None
    if outcome is None:
        raise Refusal(ExitCode.USAGE, f"the history has no verdict {asked.deploy}; `dropdeploy history` shows which")
    to = find_app(config, outcome.app).notify.email
    if not to:
        raise Refusal(ExitCode.USAGE, f"{outcome.app}: [notify] names no `email`")
    message = compose_mail(outcome, to, socket.getfqdn())
    if asked.print:
        for line in message.decode("ascii", "replace").splitlines():
            standard_output().line(plain(line))
        return ExitCode.DONE
    program = shutil.which("sendmail", path=SENDMAIL_PLACES)
    if program is None:
        raise Refusal(ExitCode.UNAVAILABLE, "there is no sendmail here: install a mail transfer agent, such as dma")
    # -i: a line with a lone dot does not end the mail.
    done = subprocess.run([program, "-i", "--", *to], input=message, check=False)
    if done.returncode != 0:
        raise Refusal(ExitCode.UNAVAILABLE, f"{program} did not take the mail: it ended with {done.returncode}")
    return ExitCode.DONE
