"""The texts of ``dropdeploy.toml`` and ``apps.d/*.toml`` → ``Config``, or every mistake in all of them at once.

What the keys are and may hold stands in ``keys``; what apps must not share in ``claims``.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dropdeploy.config.address import is_loopback, parse_address
from dropdeploy.config.claims import Claim, claims_of_app, claims_of_settings, find_conflicts
from dropdeploy.config.files import Identity
from dropdeploy.config.keys import APP, PLACES, SETTINGS, Key, Table
from dropdeploy.config.values import Expected, describe_type
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.config import Bus, Config, Settings

APP_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|(?P<end>end of document))\)")
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file's path, as mistakes are to name it, its text, and which file on disk that was, if one."""

    path: str
    text: str
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: where, the value in TOML's spelling, and what was expected; ``str`` is the whole line.

    ``key`` is dotted. It is empty where the file as a whole is meant; ``value`` is, where there is none to show.
    """

    file: str
    key: str
    value: str
    message: str

    def __str__(self) -> str:
        subject = f"{self.key} = {self.value}" if self.value else self.key
        return ": ".join(part for part in (self.file, subject, self.message) if part)


# --- reading -------------------------------------------------------------------------------------------


def parse_config(main: SourceText | None, apps: Sequence[SourceText]) -> Config | tuple[Mistake, ...]:
    """All files as one configuration, with apps in order of name; or all mistakes, those of one file together."""
    config, mistakes = survey_config(main, apps)
    return mistakes or config


def survey_config(main: SourceText | None, apps: Sequence[SourceText]) -> tuple[Config, tuple[Mistake, ...]]:
    """The apps as far as they can be understood, so that more can be found out about them, and all mistakes.

    ``main`` None: every setting has its default. An app's name is its file's name without ``.toml``.
    """
    fields, mistakes = _read_file(SETTINGS, main) if main else ({}, [])
    settings = Settings(**fields)  # type: ignore[arg-type]  # the table's readers return what its fields take
    claims = list(claims_of_settings(settings, main.path)) if main else []
    address = parse_address(settings.listen)
    if main and address and not is_loopback(address) and settings.listen_token_file is None:
        message = (
            "everybody on the network could read the page: name a file with a token, listen_token_file, "
            "or listen on 127.0.0.1"
        )
        mistakes.append(Mistake(main.path, "listen", _show(settings.listen), message))
    read: list[App] = []
    sources = sorted(apps, key=lambda source: source.path)
    for source in sources:
        app, wrong = _read_app(source, settings)
        mistakes += wrong
        if app is not None:
            read += [] if {"", "root", "drop", "unit"} & {mistake.key for mistake in wrong} else [app]
            claims += claims_of_app(app, source.path, settings.bus)
    mistakes += conflict_mistakes(_without_mistaken(claims, mistakes))
    files = [source.path for source in (*([main] if main else []), *sources)]
    in_order = sorted(mistakes, key=lambda mistake: files.index(mistake.file))
    return Config(settings, tuple(sorted(read, key=lambda app: app.name))), tuple(in_order)


def conflict_mistakes(claims: Iterable[Claim]) -> list[Mistake]:
    """What several apps, or an app's directories, must not share, told of the later claim."""
    return [Mistake(claim.file, claim.key, _show(claim.shown), message) for claim, message in find_conflicts(claims)]


def _read_app(source: SourceText, settings: Settings) -> tuple[App | None, list[Mistake]]:
    name = PurePosixPath(source.path).name.removesuffix(".toml")
    fields, mistakes = _read_file(APP, source)
    if not APP_NAME.fullmatch(name):
        message = (
            "the file's name is the app's name: expected up to 64 of a-z, 0-9, '-', '_' and '.', "
            f"with a letter or digit at both ends, found {_show(name)}"
        )
        return None, [Mistake(source.path, "", "", message), *mistakes]
    if "root" not in fields:
        fields["root"] = Path("/home", name)
    if "drop" not in fields:
        fields["drop"] = settings.drop / name
    fields.setdefault("unit", f"{name}.service")
    app = App(name=name, **fields)  # type: ignore[arg-type]  # as above
    if app.strategy is Strategy.HANDOVER and "@" in app.unit:
        message = 'expected a unit without "@": strategy = "handover" runs releases as its instances'
        mistakes.append(Mistake(source.path, "unit", _show(app.unit), message))
    if app.dedupe and settings.bus is not Bus.SYSTEM:
        message = (
            f'not with bus = "{settings.bus}": the app runs as the agent\'s own user, '
            "and could change files that several releases share"
        )
        mistakes.append(Mistake(source.path, "dedupe", "true", message))
    if app.notify.email and settings.bus is Bus.EMBEDDED:
        message = 'not with bus = "embedded": mail is sent by a unit of systemd\'s, dropdeploy-mail@.service'
        mistakes.append(Mistake(source.path, "notify.email", _show(list(app.notify.email)), message))
    is_described = app.embedded is not None or any(
        mistake.key.partition(".")[0] in ("embedded", "") for mistake in mistakes
    )
    if settings.bus is Bus.EMBEDDED and not is_described:
        message = 'missing: with bus = "embedded" it says what to run, expected [embedded] with command = ["…"]'
        mistakes.append(Mistake(source.path, "embedded", "", message))
    return app, mistakes


def _read_file(table: Table, source: SourceText) -> tuple[dict[str, object], list[Mistake]]:
    try:
        found = tomllib.loads(source.text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        return {}, [Mistake(source.path, "", "", _syntax_message(error))]
    return _read_table(table, found, source.path)


def _read_table(
    table: Table, found: Mapping[str, object], file: str, outer: tuple[str, ...] = ()
) -> tuple[dict[str, object], list[Mistake]]:
    fields: dict[str, object] = {}
    mistakes: list[Mistake] = []
    for key, value in found.items():
        path = (*outer, key)
        known = table.keys.get(key)
        if known is None:
            mistakes.append(Mistake(file, _show_key(path), _show(value), _unknown_message(table, key)))
        elif isinstance(known, Key):
            result = known.read(value)
            if isinstance(result, Expected):
                shown = "" if known.is_secret else _show(value)
                mistakes.append(Mistake(file, _show_key(path), shown, f"expected {result.text}"))
            else:
                fields[known.fills] = result
        elif isinstance(value, Mapping):
            inner, wrong = _read_table(known, value, file, path)
            mistakes += wrong
            if not wrong:
                fields[known.fills] = known.make(**inner)
        else:
            message = f"expected a table, [{_show_key(path)}], found {describe_type(value)}"
            mistakes.append(Mistake(file, _show_key(path), _show(value), message))
    for key, expected in table.required:
        if key not in found:
            mistakes.append(Mistake(file, _show_key((*outer, key)), "", f"missing: expected {expected}"))
    return fields, mistakes


def _without_mistaken(claims: Iterable[Claim], mistakes: Sequence[Mistake]) -> list[Claim]:
    """What is already reported is not compared: the model then holds a default that nobody chose."""
    if not mistakes:
        return list(claims)
    mistaken = {(mistake.file, mistake.key) for mistake in mistakes}
    return [claim for claim in claims if not {(claim.file, claim.key), (claim.file, "")} & mistaken]


# --- what to say ---------------------------------------------------------------------------------------


def _unknown_message(table: Table, key: str) -> str:
    # Most often a key that was written below a [table] header, which then owns it.
    if places := [place for other, place in PLACES if key in other.keys]:
        return f'unknown key here, "{key}" belongs {" or ".join(places)}'
    if near := difflib.get_close_matches(key, table.keys, n=1):
        return f'unknown key, did you mean "{near[0]}"?'
    return f"unknown key, known here are {', '.join(table.keys)}"


def _syntax_message(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "not valid TOML: nested too deeply"
    match = _TOML_PLACE.fullmatch(str(error))
    if match is None:
        return f"not valid TOML: {error}"
    what = match["what"]
    place = match["end"] or f"line {match['line']}, column {match['column']}"
    return f"{place}: not valid TOML: {what[:1].lower()}{what[1:]}"


def _show_key(path: tuple[str, ...]) -> str:
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _show(key) for key in path)


def _show(value: object) -> str:
    """As TOML spells it, near enough to be recognised; a table is told by its key."""
    if isinstance(value, Mapping):
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
