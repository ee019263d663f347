"""Which keys the configuration knows, which field of the model each fills, and how its value is read.

The defaults are the model's own: a key that is not there fills nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dropdeploy.config import values
from dropdeploy.config.files import MAIN_FILE
from dropdeploy.config.values import Reader
from dropdeploy.model.app import Accept, App, EmbeddedUnit, HealthCheck, Hooks, Notify, OnFailure, Strategy, TrialCheck
from dropdeploy.model.config import Bus, Settings
from dropdeploy.model.outcome import Status


@dataclass(frozen=True, slots=True)
class Key:
    """A key with one value: the model's field that it fills, and how it is read.

    ``is_secret``: the value is not shown, even where it is a mistake.
    """

    fills: str
    read: Reader
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of keys, and the model's class (or function) that makes one value of the fields they fill."""

    make: Callable[..., object]
    keys: Mapping[str, Key | Table]
    fills: str = ""
    required: tuple[tuple[str, str], ...] = ()  # a key that must be there, and what is expected


SETTINGS = Table(
    Settings,
    {
        "state": Key("state", values.absolute_path),
        "drop": Key("drop", values.absolute_path),
        "concurrency": Key("concurrency", values.whole(1)),
        "rescan": Key("rescan_s", values.span()),
        "bus": Key("bus", values.choice(Bus)),
        "listen": Key("listen", values.listen),
        "listen_token_file": Key("listen_token_file", values.path_or_off),
    },
)

ACCEPT = Table(
    Accept,
    {
        "completion": Key("completion", values.word("proof", "ready")),
        "checksum": Key("checksum", values.word("optional", "required")),
        "signature": Key("signature", values.word("off", "required")),
        "allowed_signers": Key("allowed_signers", values.absolute_path),
        "max_bytes": Key("max_bytes", values.size),
        "max_unpacked": Key("max_unpacked", values.size),
        "max_entries": Key("max_entries", values.whole(1)),
    },
    fills="accept",
)

HEALTH = Table(
    HealthCheck,
    {
        "url": Key("url", values.health_url),
        "host": Key("host", values.host_header),
        "status": Key("status", values.statuses),
        "interval": Key("interval_s", values.span()),
        "timeout": Key("timeout_s", values.span()),
        "attempt_timeout": Key("attempt_timeout_s", values.span()),
        "successes": Key("successes", values.whole(1)),
        "soak": Key("soak_s", values.span(can_be_zero=True)),
    },
    fills="health",
)

TRIAL = Table(
    TrialCheck,
    {
        "unit": Key("unit", values.template_or_off),
        "url": Key("url", values.health_url),
        "timeout": Key("timeout_s", values.span()),
    },
    fills="trial",
)

HOOKS = Table(
    Hooks,
    {
        "before_swap": Key("before_swap", values.templates),
        "after_live": Key("after_live", values.templates),
        "timeout": Key("timeout_s", values.span()),
    },
    fills="hooks",
)

NOTIFY = Table(
    Notify,
    {
        # Whoever knows the address of a Slack or Discord webhook may write there.
        "webhook": Key("webhook", values.webhook_url, is_secret=True),
        "format": Key("format", values.word("json", "slack", "discord", "ntfy")),
        "secret_file": Key("secret_file", values.path_or_off),
        "email": Key("email", values.mail_addresses),
        "on": Key("on", values.choices(Status)),
    },
    fills="notify",
)

EMBEDDED = Table(
    EmbeddedUnit,
    {
        "command": Key("command", values.command),
        "listen": Key("listen", values.listen),
        "environment": Key("environment", values.environment),
    },
    fills="embedded",
    required=(("command", 'a program and its arguments such as ["node", "server.js"]'),),
)

APP = Table(
    App,
    {
        "root": Key("root", values.absolute_path),
        "drop": Key("drop", values.absolute_path),
        "unit": Key("unit", values.service),
        "group": Key("group", values.group),
        "keep": Key("keep", values.whole(1)),
        "keep_results": Key("keep_results", values.whole(1)),
        "shared": Key("shared", values.shared_entries),
        "strip": Key("strip", values.whole(0)),
        "dedupe": Key("dedupe", values.yes_or_no),
        "strategy": Key("strategy", values.choice(Strategy)),
        "on_failure": Key("on_failure", values.choice(OnFailure)),
        "rate_limit": Key("rate_limit", values.rate_limit),
        "queue": Key("queue", values.word("all", "latest")),
        "after": Key("after", values.word("delete", "keep")),
        "status_page": Key("status_page", values.yes_or_no),
        "settle": Key("settle_s", values.span()),
        "stall": Key("stall_s", values.span()),
        "accept": ACCEPT,
        "health": HEALTH,
        "trial": TRIAL,
        "hooks": HOOKS,
        "notify": NOTIFY,
        "embedded": EMBEDDED,
    },
)

# Where each table stands, as told to somebody who wrote a key elsewhere.
PLACES: tuple[tuple[Table, str], ...] = (
    (APP, "at the top of an app's file, above its first [table]"),
    *((table, f"in [{key}]") for key, table in APP.keys.items() if isinstance(table, Table)),
    (SETTINGS, f"in {MAIN_FILE}"),
)
