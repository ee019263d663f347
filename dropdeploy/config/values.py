"""What a single value of the configuration may be: readers from TOML values to the model's.

A reader takes whatever stands in the file and returns the model's value, or ``Expected``: what should have stood there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dropdeploy.config.address import parse_address, parse_health_url, parse_http_url
from dropdeploy.config.quantity import YEAR_S, parse_rate, parse_size, parse_span
from dropdeploy.model.app import RateLimit

MAX_SPAN_S = 100 * YEAR_S
SPAN_EXAMPLES = 'a time span such as "500ms", "5s" or "1h 30min"'

_Choice = TypeVar("_Choice", bound=StrEnum)
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(?P<at>@(?P<instance>[A-Za-z0-9:_.\\@-]*))?\.service")
_MAX_UNIT_NAME = 255
_GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_HOST_HEADER = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
# Addresses in use, and a local user's name. What RFC 5321 quotes is left out; "-" first would be an option.
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._%+=-]*(@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Expected:
    """What was expected in place of a value, as the end of a sentence that begins with "expected"."""

    text: str


Reader = Callable[[object], object | Expected]


def describe_type(value: object) -> str:
    """A TOML value's kind, in TOML's words."""
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),  # before int: a bool is one
        (str, "a string"),
        (int, "an integer"),
        (float, "a float"),
        (list, "an array"),
        (dict, "a table"),
        ((date, time), "a date or time"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "something else")


def _wrong_type(expected: str, value: object) -> Expected:
    return Expected(f"{expected}, found {describe_type(value)}")


# --- numbers -------------------------------------------------------------------------------------------


def whole(minimum: int, maximum: int = 2**31 - 1) -> Reader:
    """A whole number from ``minimum`` to ``maximum``."""

    def read(value: object) -> int | Expected:
        expected = f"a whole number of at least {minimum}"
        if isinstance(value, bool) or not isinstance(value, int):
            return _wrong_type(expected, value)
        if value > maximum:
            return Expected(f"a whole number from {minimum} to {maximum}")
        return value if value >= minimum else Expected(expected)

    return read


def yes_or_no(value: object) -> bool | Expected:
    """true or false."""
    return value if isinstance(value, bool) else _wrong_type("true or false", value)


def span(*, can_be_zero: bool = False) -> Reader:
    """A time span in seconds; a bare number, quoted or not, is seconds."""

    def read(value: object) -> float | Expected:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return _wrong_type(SPAN_EXAMPLES, value)
        if isinstance(value, str) and value.strip() == "infinity":
            return Expected(f"{SPAN_EXAMPLES}; nothing here may wait for ever")
        seconds = parse_span(value) if isinstance(value, str) else value
        # Spelt so that nan is refused too.
        if seconds is None or not seconds >= 0:
            return Expected(SPAN_EXAMPLES)
        if seconds == 0 and not can_be_zero:
            return Expected("a time span longer than 0")
        return float(seconds) if seconds <= MAX_SPAN_S else Expected("a time span of at most 100 years")

    return read


def size(value: object) -> int | Expected:
    """A size in bytes, at least 1."""
    expected = 'a size such as "512M" or "2G" (K, M, G or T, base 1024)'
    if isinstance(value, bool) or not isinstance(value, str | int):
        return _wrong_type(expected, value)
    count = parse_size(value) if isinstance(value, str) else value
    if count is None or count < 0:
        return Expected(expected)
    if count == 0:
        return Expected("a size of at least 1 byte")
    return count if count < 2**63 else Expected("a size below 8E")


def rate_limit(value: object) -> RateLimit | Expected | None:
    """``"30/1h"``, or ``"off"`` as None."""
    expected = 'a number of deploys and a time span, such as "30/1h", or "off"'
    if not isinstance(value, str):
        return _wrong_type(expected, value)
    if value == "off":
        return None
    rate = parse_rate(value)
    return rate if rate is not None and rate.span_s <= MAX_SPAN_S else Expected(expected)


def statuses(value: object) -> tuple[int, ...] | Expected:
    """HTTP statuses; a lone one need not stand in an array."""
    expected = "HTTP statuses from 100 to 599, such as [200, 204]"
    found = value if isinstance(value, list) else [value]
    for status in found:
        if isinstance(status, bool) or not isinstance(status, int):
            return _wrong_type(expected, status)
        if not 100 <= status <= 599:
            return Expected(f"{expected}, found {status}")
    return tuple(dict.fromkeys(found)) or Expected(f"{expected}, at least one")


# --- words and texts -----------------------------------------------------------------------------------


def choice(options: type[_Choice]) -> Reader:
    """One of an enumeration's values, as its member."""
    read_word = word(*options)

    def read(value: object) -> _Choice | Expected:
        found = read_word(value)
        return options(str(found)) if not isinstance(found, Expected) else found

    return read


def word(*options: str) -> Reader:
    """One of these words."""
    quoted = [f'"{option}"' for option in options]
    expected = f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def read(value: object) -> str | Expected:
        if not isinstance(value, str):
            return _wrong_type(expected, value)
        return value if value in options else Expected(expected)

    return read


def choices(options: type[_Choice]) -> Reader:
    """Some of an enumeration's values, as its members in its order; a lone one need not stand in an array."""
    quoted = ", ".join(f'"{option}"' for option in options)
    expected = f"some of {quoted}"

    def read(value: object) -> tuple[_Choice, ...] | Expected:
        found = value if isinstance(value, list) else [value]
        for entry in found:
            if not isinstance(entry, str):
                return _wrong_type(expected, entry)
            if entry not in list(options):
                return Expected(f'{expected}, found "{entry}"')
        return tuple(option for option in options if option in found) or Expected(expected)

    return read


def mail_addresses(value: object) -> tuple[str, ...] | Expected:
    """Addresses that mail(1) would take; a lone one need not stand in an array, and empty means off."""
    expected = 'mail addresses such as ["ops@example.com"]'
    found = [] if value == "" else value if isinstance(value, list) else [value]
    for entry in found:
        if not isinstance(entry, str):
            return _wrong_type(expected, entry)
        if not _MAIL_ADDRESS.fullmatch(entry):
            return Expected(f'{expected}, found "{entry}"')
    return tuple(found)


def text_that(is_right: Callable[[str], object], expected: str, *, can_be_empty: bool = True) -> Reader:
    """A string of a certain form; an empty one, where it can be, means "off" or "the default"."""

    def read(value: object) -> str | Expected:
        if not isinstance(value, str):
            return _wrong_type(expected, value)
        if not value and can_be_empty:
            return value
        return value if value and is_right(value) else Expected(expected)

    return read


group = text_that(_GROUP_NAME.fullmatch, "the name of a group")
host_header = text_that(_HOST_HEADER.fullmatch, 'a host name such as "www.example.com", with a port if need be')
listen = text_that(
    parse_address, 'an address and port such as "127.0.0.1:8731" or "[::1]:8731", or the absolute path of a Unix socket'
)
health_url = text_that(
    parse_health_url,
    'a URL such as "http://127.0.0.1:3000/health" (http or https, no user name) or "unix:/run/app.sock:/health"',
)
webhook_url = text_that(parse_http_url, "a URL that begins with http:// or https://")


# --- paths ---------------------------------------------------------------------------------------------


def absolute_path(value: object) -> Path | Expected:
    """An absolute path below ``/``, without ``..``; doubled and trailing slashes are dropped."""
    expected = 'an absolute path such as "/home/myapp"'
    if not isinstance(value, str):
        return _wrong_type(expected, value)
    if value.startswith("~"):
        return Expected(f'{expected}; "~" is not expanded here')
    if not value.startswith("/") or not value.isprintable():
        return Expected(expected)
    parts = _components(value)
    if ".." in parts:
        return Expected(f'{expected}, without ".."')
    return Path("/", *parts) if parts else Expected('an absolute path such as "/home/myapp", not "/" itself')


def path_or_off(value: object) -> Path | Expected | None:
    """As ``absolute_path``; empty is None."""
    return None if value == "" else absolute_path(value)


def shared_entries(value: object) -> tuple[str, ...] | Expected:
    """Relative paths, normalised; a trailing slash stays, it says "directory". None may lie within another."""
    expected = 'relative paths such as [".env", "uploads/"]'
    if not isinstance(value, list):
        return _wrong_type(expected, value)
    entries: dict[tuple[str, ...], str] = {}
    for entry in value:
        if not isinstance(entry, str):
            return _wrong_type(expected, entry)
        parts = _components(entry)
        if not parts or entry.startswith(("/", "~")) or ".." in parts or not entry.isprintable():
            return Expected(f'{expected}, without "..", found "{entry}"')
        for other_parts, other in entries.items():
            shorter = min(len(parts), len(other_parts))
            if parts == other_parts:
                return Expected(f'each path once, found "{other}" and "{entry}"')
            if parts[:shorter] == other_parts[:shorter]:
                return Expected(f'paths that do not lie within one another, found "{other}" and "{entry}"')
        entries[parts] = "/".join(parts) + ("/" if entry.endswith("/") else "")
    return tuple(entries.values())


def _components(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


# --- units ---------------------------------------------------------------------------------------------


def service(value: object) -> str | Expected:
    """The full name of a service that can be started as it stands (systemd.unit(5)): no template."""
    expected = 'the full name of a unit such as "myapp.service"'
    if not isinstance(value, str):
        return _wrong_type(expected, value)
    match = _match_unit(value)
    if match is None:
        return Expected(expected + _did_you_mean(f"{value}.service"))
    if match["at"] and not match["instance"]:
        example = f"{value.removesuffix('.service')}1.service"
        return Expected(f'{expected}, found a template without an instance; name one, such as "{example}"')
    return value


def template(value: object) -> str | Expected:
    """The full name of a template unit; the release id becomes its instance."""
    expected = 'the full name of a template unit such as "myapp-migrate@.service"'
    return _read_template(value, expected)


def template_or_off(value: object) -> str | Expected:
    """As ``template``; empty means off."""
    return "" if value == "" else template(value)


def templates(value: object) -> tuple[str, ...] | Expected:
    """An array of template units, started in this order."""
    if not isinstance(value, list):
        return _wrong_type('template units such as ["myapp-migrate@.service"]', value)
    units = []
    for entry in value:
        expected = 'full names of template units such as ["myapp-migrate@.service"]'
        unit = _read_template(entry, f'{expected} instead of "{entry}"' if isinstance(entry, str) else expected)
        if isinstance(unit, Expected):
            return unit
        units.append(unit)
    return tuple(units)


def _read_template(value: object, expected: str) -> str | Expected:
    if not isinstance(value, str):
        return _wrong_type(expected, value)
    match = _match_unit(value)
    if match is None or match["at"] is None:
        return Expected(expected + _did_you_mean(f"{value.removesuffix('.service').removesuffix('@')}@.service"))
    return value if not match["instance"] else Expected(f'{expected}, with nothing between "@" and ".service"')


def _match_unit(name: str) -> re.Match[str] | None:
    return _UNIT_NAME.fullmatch(name) if len(name) <= _MAX_UNIT_NAME else None


def _did_you_mean(name: str) -> str:
    stem = name.removesuffix(".service").removesuffix("@")
    is_plausible = _match_unit(name) and "@" not in stem and not re.search(r"\.[a-z]+$", stem)
    return f', did you mean "{name}"?' if is_plausible else ""


# --- [embedded] ----------------------------------------------------------------------------------------


def command(value: object) -> tuple[str, ...] | Expected:
    """A program and its arguments, as execve(2) takes them: no shell reads them."""
    expected = 'a program and its arguments such as ["node", "server.js"]'
    if not isinstance(value, list):
        return _wrong_type(expected, value)
    for argument in value:
        if not isinstance(argument, str):
            return _wrong_type(expected, argument)
    return tuple(value) if value and value[0] and not any("\0" in word for word in value) else Expected(expected)


def environment(value: object) -> tuple[tuple[str, str], ...] | Expected:
    """Variables and their values, both strings."""
    expected = 'variables and their values such as { PORT = "8080" }'
    if not isinstance(value, Mapping):
        return _wrong_type(expected, value)
    for name, content in value.items():
        if not _VARIABLE_NAME.fullmatch(name):
            return Expected(f'{expected}, found the name "{name}"')
        if not isinstance(content, str):
            return _wrong_type(f"{expected}, each a string; {name} is not", content)
        if "\0" in content:
            return Expected(f"{expected}; {name} holds a NUL")
    return tuple(value.items())
