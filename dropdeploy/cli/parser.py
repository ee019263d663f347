"""The command's grammar. Imports nothing of the rest, so that ``--version`` and completions stay quick."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from dropdeploy import __version__

DEFAULT_DIRECTORY = Path("/etc/dropdeploy")
DEFAULT_KIND = "program"
KINDS = ("node", "gunicorn", "uvicorn", "python", "program")
STRATEGIES = ("restart", "reload", "handover")
"""As the model and the templates have them, which take longer to import than all the rest; a test compares."""

_EPILOG = """\
exit codes:
  0  done
  1  the deploy did not succeed
  2  usage or configuration
  3  the agent is not running, or permission is missing
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar. ``command`` of the namespace is the subcommand, None when there was none."""
    parser = argparse.ArgumentParser(
        prog="dropdeploy",
        description="Deploys what is dropped into a directory: releases, health checks, rollbacks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dropdeploy {__version__}")
    _add_config(parser, DEFAULT_DIRECTORY)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    _add(commands, "run", "be the agent, in the foreground")
    _add(commands, "check", "look for everything that would fail later", json=True)

    status = _add(commands, "status", "what is live, and how it is", json=True)
    _add_app(status, is_optional=True)
    history = _add(commands, "history", "what was deployed, newest first", json=True)
    _add_app(history, is_optional=True)
    history.add_argument("--limit", metavar="N", type=_count, default=20, help="show so many (default: 20)")
    history.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, oldest first, until Ctrl-C"
    )
    releases = _add(commands, "releases", "the releases of an app on disk", json=True)
    _add_app(releases)

    logs = _add(commands, "logs", "what the app has logged since it was restarted", json=True)
    _add_app(logs)
    logs.add_argument("deploy", metavar="DEPLOY", nargs="?", type=_count, help="since this deploy, up to the next one")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument("-n", "--lines", metavar="N", type=_count, help="the last N (default: 100; of a DEPLOY all)")

    deploy = _add(commands, "deploy", "upload a build and watch it go live", json=True)
    _add_app(deploy)
    deploy.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="an archive or a directory; FILE.sha256, FILE.sig and FILE.meta.toml go along",
    )
    _add_timeout(deploy)
    rollback = _add(commands, "rollback", "go back to the newest healthy release before the live one", json=True)
    _add_app(rollback)
    rollback.add_argument("release", metavar="RELEASE", nargs="?", default="", help="go to this release instead")
    _add_timeout(rollback)
    restart = _add(commands, "restart", "restart the live release and check its health", json=True)
    _add_app(restart)
    _add_timeout(restart)

    _add_init(_add(commands, "init", "make everything that an app's deploys need on this server"))
    _add_app(_add(commands, "hold", "let uploads wait"))
    _add_app(_add(commands, "unhold", "let uploads that waited go on"))

    mail = _add(commands, "notify-mail", "mail the result of a deploy as [notify] says (dropdeploy-mail@.service)")
    mail.add_argument("deploy", metavar="DEPLOY", type=_count, help="the deploy's number in the history")
    mail.add_argument("--print", action="store_true", help="print the mail, and do not send it")

    demo = _add(commands, "demo", "the whole story on this machine: no root, no systemd needed")
    demo.add_argument("--keep", action="store_true", help="leave it running afterwards, to be played with")
    completion = _add(commands, "completion", "print the completions of this command for a shell")
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    return parser


def _add_init(command: argparse.ArgumentParser) -> None:
    _add_app(command)
    command.add_argument("--root", metavar="DIR", type=Path, help="where releases live (default: /home/APP)")
    command.add_argument("--drop", metavar="DIR", type=Path, help="where uploads arrive (default: /srv/drop/APP)")
    command.add_argument("--unit", metavar="UNIT", help="the service that runs the app (default: APP.service)")
    command.add_argument("--user", metavar="USER", help="whom the app runs as, made when missing (default: APP)")
    command.add_argument(
        "--uploader", metavar="USER", help="who may upload, and nothing else; made when missing (default: up-APP)"
    )
    command.add_argument(
        "--key", metavar="FILE", type=Path, help="the uploader's public key, as ssh-keygen(1) makes it"
    )
    command.add_argument(
        "--strategy",
        metavar="STRATEGY",
        choices=STRATEGIES,
        help=f"how the unit is brought to a new release: {', '.join(STRATEGIES)} (default: restart)",
    )
    command.add_argument("--port", metavar="N", type=_port, help="the port of 127.0.0.1 on which the app answers")
    command.add_argument("--health", metavar="PATH", help="what the app answers with 200 when it is well (default: /)")
    command.add_argument(
        "--units",
        metavar="KIND",
        nargs="?",
        choices=KINDS,
        const=DEFAULT_KIND,
        help=f"make the app's own units as well, for one of {', '.join(KINDS)} (default: {DEFAULT_KIND})",
    )
    command.add_argument("--dry-run", action="store_true", help="show every change, and make none")
    command.add_argument("--undo", action="store_true", help="take back what init made and nobody has changed since")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, *, json: bool = False
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", allow_abbrev=False
    )
    _add_config(command, argparse.SUPPRESS)  # what stands before the command must not be overwritten by a default
    if json:
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    return command


def _add_config(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--config",
        metavar="DIR",
        type=Path,
        default=default,
        help=f"where dropdeploy.toml and apps.d/ are (default: {DEFAULT_DIRECTORY})",
    )


def _add_app(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    parser.add_argument("app", metavar="APP", nargs="?" if is_optional else None, help="the app's name")


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SPAN",
        type=_span,
        default=math.inf,
        help='stop watching after, say, "5min", exit code 1; what was begun goes on (default: watch to the end)',
    )


def _span(text: str) -> float:
    from dropdeploy.config.quantity import parse_span  # noqa: PLC0415 - only where there is one

    seconds = parse_span(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f'expected a time span such as "90s" or "5min", found "{text}"')
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f'expected a port from 1 to 65535, found "{text}"')
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'expected a whole number of at least 1, found "{text}"')
    return int(text)
