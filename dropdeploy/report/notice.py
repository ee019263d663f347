"""A verdict as others are told it: the body of a webhook in the shape its receiver reads, and its signature.

Texts come from strangers (names of uploads, an app's log): each shape makes them harmless in the way of its format.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dropdeploy.model.app import Notify
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.report.harmless import end_of_log, one_line
from dropdeploy.report.result import outcome_as_json

WEBHOOK, EMAIL = "webhook", "email"

MAIL_UNIT = "dropdeploy-mail@{}.service"
"""Mails the result of the deploy of this number."""

SIGNATURE_HEADER = "X-Dropdeploy-Signature"

LOG_LINES = 12
_GOOD, _BAD, _WARN = 0x2E9E5B, 0xD1343D, 0xC98A00
_COLOURS = {Status.DEPLOYED: _GOOD, Status.ROLLED_BACK: _BAD, Status.FAILED: _BAD, Status.REJECTED: _BAD}
# https://docs.ntfy.sh/publish/#tags-emojis
_TAGS = {_GOOD: "white_check_mark", _BAD: "rotating_light", _WARN: "warning"}


@dataclass(frozen=True, slots=True)
class Notice:
    """What is POSTed."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def channels_for(notify: Notify, status: Status) -> tuple[str, ...]:
    """By which channels a verdict of this status is to be told."""
    if status not in notify.on:
        return ()
    return tuple(channel for channel, is_on in ((WEBHOOK, notify.webhook), (EMAIL, notify.email)) if is_on)


def compose(outcome: Outcome, shape: str, host: str) -> Notice:
    """The notice for a receiver of this ``format`` of the configuration; ``host`` is this machine's name."""
    notice = _SHAPES[shape](outcome, host)
    headers = {"X-Dropdeploy-Delivery": str(outcome.id), "X-Dropdeploy-Status": outcome.status.value}
    return Notice(notice.body, {**headers, **notice.headers})


def sign(notice: Notice, secret: bytes) -> Notice:
    """The same with the HMAC-SHA256 (RFC 2104) of its body in ``SIGNATURE_HEADER``, as ``sha256=`` and hex digits."""
    digest = hmac.new(secret, notice.body, hashlib.sha256).hexdigest()
    return Notice(notice.body, {**notice.headers, SIGNATURE_HEADER: f"sha256={digest}"})


# --- in words ------------------------------------------------------------------------------------------


def headline(outcome: Outcome) -> str:
    """The verdict in one line."""
    return one_line(f"{outcome.app}: {outcome.status}: {outcome.summary}")


def facts(outcome: Outcome, host: str) -> list[str]:
    """What else is worth telling, a line each: why, what to do, who and what."""
    lines = []
    if (fault := outcome.fault) is not None:
        where = f" ({outcome.fault_step})" if outcome.fault_step else ""
        lines += [f"{fault.code}{where}: {fault.message}", f"hint: {fault.hint}" if fault.hint else ""]
    told = [f"{key} {value}" for key, value in outcome.meta]
    lines.append(", ".join([f"{outcome.action} {outcome.id} of {outcome.upload} on {host}", *told]))
    return [one_line(line) for line in lines if line]


def log_tail(outcome: Outcome) -> str:
    """The last lines of the unit's log, "" where the verdict has none."""
    return "\n".join(end_of_log(outcome.fault.log).splitlines()[-LOG_LINES:]) if outcome.fault else ""


# --- shapes --------------------------------------------------------------------------------------------


def _json(outcome: Outcome, host: str) -> Notice:
    return _as_json(outcome_as_json(outcome))


def _slack(outcome: Outcome, host: str) -> Notice:
    """https://docs.slack.dev/messaging/formatting-message-text: three characters have a meaning that hurts."""

    def escape(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    text = escape(_with_log(facts(outcome, host), log_tail(outcome), 3000))
    attachment = {"color": f"#{_colour(outcome):06x}", "text": text, "mrkdwn_in": ["text"]}
    return _as_json({"text": escape(headline(outcome)), "attachments": [attachment]})


def _discord(outcome: Outcome, host: str) -> Notice:
    """https://discord.com/developers/docs/resources/webhook: titles of 256 characters, descriptions of 4096."""
    embed = {
        "title": _cut(headline(outcome), 256),
        "description": _with_log(facts(outcome, host), log_tail(outcome), 4096),
        "color": _colour(outcome),
    }
    # Nobody is called by what a stranger has named an upload.
    return _as_json({"embeds": [embed], "allowed_mentions": {"parse": []}})


def _ntfy(outcome: Outcome, host: str) -> Notice:
    """https://docs.ntfy.sh/publish/: the text as it is, at most 4096 bytes; the rest in headers, which are ASCII."""
    text = "\n".join([one_line(outcome.summary), *facts(outcome, host), log_tail(outcome)]).rstrip()
    body = text.encode("utf-8", "replace")
    if len(body) > 4096:
        body = body[:4090].decode("utf-8", "ignore").encode() + "…".encode()
    colour = _colour(outcome)
    headers = {
        "Title": f"{outcome.app}: {outcome.status}",
        "Tags": _TAGS[colour],
        "Priority": "high" if colour == _BAD else "default",
        "Content-Type": "text/plain; charset=utf-8",
    }
    return Notice(body, headers)


_SHAPES: Mapping[str, Callable[[Outcome, str], Notice]] = {
    "json": _json,
    "slack": _slack,
    "discord": _discord,
    "ntfy": _ntfy,
}


def _as_json(value: object) -> Notice:
    return Notice(json.dumps(value).encode(), {"Content-Type": "application/json"})


def _with_log(lines: list[str], log: str, limit: int) -> str:
    """Lines, then the log as a block of code that it cannot end by itself; the beginning of the log goes first."""
    text = _cut("\n".join(lines), limit)
    room = limit - len(text) - len("\n```\n\n```")
    if not log or room < 80:
        return text
    fenced = log.replace("```", "'''")
    return f"{text}\n```\n{fenced if len(fenced) <= room else '…' + fenced[1 - room :]}\n```"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _colour(outcome: Outcome) -> int:
    return _COLOURS.get(outcome.status, _WARN)
