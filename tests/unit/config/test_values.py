"""What a single value may be."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from dropdeploy.config import values
from dropdeploy.config.values import Expected
from dropdeploy.model.app import RateLimit, Strategy

Reader = Callable[[object], object]


def refusal(reader: Reader, value: object) -> str:
    result = reader(value)
    assert isinstance(result, Expected), f"{value!r} was taken as {result!r}"
    return result.text


@pytest.mark.parametrize(
    ("reader", "value", "result"),
    [
        (values.whole(1), 1, 1),
        (values.whole(0), 0, 0),
        (values.span(), "1h 30min", 5400.0),
        (values.span(), "30", 30.0),
        (values.span(), 30, 30.0),
        (values.span(), 1.5, 1.5),
        (values.span(can_be_zero=True), "0s", 0.0),
        (values.size, "2G", 2 * 1024**3),
        (values.size, 4096, 4096),
        (values.rate_limit, "30/1h", RateLimit(30, 3600.0)),
        (values.rate_limit, "off", None),
        (values.statuses, [200, 204], (200, 204)),
        (values.statuses, 301, (301,)),
        (values.statuses, [200, 200], (200,)),
        (values.choice(Strategy), "handover", Strategy.HANDOVER),
        (values.word("all", "latest"), "latest", "latest"),
        (values.choices(Strategy), ["reload", "restart"], (Strategy.RESTART, Strategy.RELOAD)),
        (values.choices(Strategy), "reload", (Strategy.RELOAD,)),
        (values.mail_addresses, "root", ("root",)),
        (values.mail_addresses, "", ()),
        (values.mail_addresses, ["a.b+c@example.com", "ops@localhost"], ("a.b+c@example.com", "ops@localhost")),
        (values.path_or_off, "", None),
        (values.group, "", ""),
        (values.group, "www-data", "www-data"),
        (values.host_header, "www.example.com:8080", "www.example.com:8080"),
        (values.host_header, "[::1]:80", "[::1]:80"),
        (values.listen, "", ""),
        (values.listen, "[::1]:8731", "[::1]:8731"),
        (values.absolute_path, "//srv/./drop//a/", Path("/srv/drop/a")),
        (values.absolute_path, "/srv/größe", Path("/srv/größe")),
        (values.shared_entries, [".env", "uploads/", "./var//log/"], (".env", "uploads/", "var/log/")),
        (values.shared_entries, ["a", "ab", "b/a"], ("a", "ab", "b/a")),
        (values.service, "my-app.service", "my-app.service"),
        (values.service, r"a\x2db:c_d@1.service", r"a\x2db:c_d@1.service"),
        (values.template, "migrate@.service", "migrate@.service"),
        (values.template_or_off, "", ""),
        (values.templates, [], ()),
        (values.templates, ["a@.service", "b@.service"], ("a@.service", "b@.service")),
        (values.command, ["node", "server.js", ""], ("node", "server.js", "")),
        (values.environment, {"PORT": "8080"}, (("PORT", "8080"),)),
    ],
)
def test_what_is_taken(reader: Reader, value: object, result: object) -> None:
    read = reader(value)
    assert read == result
    assert type(read) is type(result)


@pytest.mark.parametrize(
    ("reader", "value", "expected"),
    [
        (values.whole(1), 0, "a whole number of at least 1"),
        (values.whole(1), -1, "a whole number of at least 1"),
        (values.whole(1), 2**31, "a whole number from 1 to 2147483647"),
        (values.whole(1), True, "a whole number of at least 1, found a boolean"),
        (values.whole(1), "5", "a whole number of at least 1, found a string"),
        (values.whole(1), 1.0, "a whole number of at least 1, found a float"),
        (values.span(), "5x", 'a time span such as "500ms", "5s" or "1h 30min"'),
        (values.span(), -1, 'a time span such as "500ms", "5s" or "1h 30min"'),
        (values.span(), float("nan"), 'a time span such as "500ms", "5s" or "1h 30min"'),
        (values.span(), "0", "a time span longer than 0"),
        (values.span(), "200y", "a time span of at most 100 years"),
        (values.span(), float("inf"), "a time span of at most 100 years"),
        (
            values.span(),
            "infinity",
            'a time span such as "500ms", "5s" or "1h 30min"; nothing here may wait for ever',
        ),
        (values.span(), [], 'a time span such as "500ms", "5s" or "1h 30min", found an array'),
        (values.size, "2GB", 'a size such as "512M" or "2G" (K, M, G or T, base 1024)'),
        (values.size, "0", "a size of at least 1 byte"),
        (values.size, -5, 'a size such as "512M" or "2G" (K, M, G or T, base 1024)'),
        (values.size, "16E", "a size below 8E"),
        (values.size, 1.5, 'a size such as "512M" or "2G" (K, M, G or T, base 1024), found a float'),
        (values.rate_limit, "30 per hour", 'a number of deploys and a time span, such as "30/1h", or "off"'),
        (values.rate_limit, False, 'a number of deploys and a time span, such as "30/1h", or "off", found a boolean'),
        (values.statuses, [200, 700], "HTTP statuses from 100 to 599, such as [200, 204], found 700"),
        (values.statuses, "200", "HTTP statuses from 100 to 599, such as [200, 204], found a string"),
        (values.statuses, [], "HTTP statuses from 100 to 599, such as [200, 204], at least one"),
        (values.choice(Strategy), "reboot", '"restart", "reload" or "handover"'),
        (values.choice(Strategy), 1, '"restart", "reload" or "handover", found an integer'),
        (values.word("off", "required"), "optional", '"off" or "required"'),
        (
            values.choices(Strategy),
            ["restart", "reboot"],
            'some of "restart", "reload", "handover", found "reboot"',
        ),
        (values.choices(Strategy), [], 'some of "restart", "reload", "handover"'),
        (
            values.mail_addresses,
            ["-oQ/tmp@example.com"],
            'mail addresses such as ["ops@example.com"], found "-oQ/tmp@example.com"',
        ),
        (values.mail_addresses, "a@b\nBcc: c", 'mail addresses such as ["ops@example.com"], found "a@b\nBcc: c"'),
        (values.mail_addresses, [1], 'mail addresses such as ["ops@example.com"], found an integer'),
        (values.group, "a b", "the name of a group"),
        (values.host_header, "a\r\nb", 'a host name such as "www.example.com", with a port if need be'),
        (values.absolute_path, "~/app", 'an absolute path such as "/home/myapp"; "~" is not expanded here'),
        (values.absolute_path, "srv/app", 'an absolute path such as "/home/myapp"'),
        (values.absolute_path, "", 'an absolute path such as "/home/myapp"'),
        (values.absolute_path, "/srv/../etc", 'an absolute path such as "/home/myapp", without ".."'),
        (values.absolute_path, "//", 'an absolute path such as "/home/myapp", not "/" itself'),
        (values.absolute_path, "/srv/a\nb", 'an absolute path such as "/home/myapp"'),
        (values.absolute_path, date(2026, 1, 1), 'an absolute path such as "/home/myapp", found a date or time'),
        (
            values.shared_entries,
            ["/etc"],
            'relative paths such as [".env", "uploads/"], without "..", found "/etc"',
        ),
        (
            values.shared_entries,
            ["a/../b"],
            'relative paths such as [".env", "uploads/"], without "..", found "a/../b"',
        ),
        (values.shared_entries, ["."], 'relative paths such as [".env", "uploads/"], without "..", found "."'),
        (values.shared_entries, ["data", "data/"], 'each path once, found "data" and "data/"'),
        (
            values.shared_entries,
            ["data/x", "data/"],
            'paths that do not lie within one another, found "data/x" and "data/"',
        ),
        (values.shared_entries, ".env", 'relative paths such as [".env", "uploads/"], found a string'),
        (values.shared_entries, [1], 'relative paths such as [".env", "uploads/"], found an integer'),
        (
            values.service,
            "myapp",
            'the full name of a unit such as "myapp.service", did you mean "myapp.service"?',
        ),
        (values.service, "myapp.socket", 'the full name of a unit such as "myapp.service"'),
        (values.service, "my app.service", 'the full name of a unit such as "myapp.service"'),
        (values.service, ".service", 'the full name of a unit such as "myapp.service"'),
        (values.service, "../x.service", 'the full name of a unit such as "myapp.service"'),
        (values.service, "a" * 248 + ".service", 'the full name of a unit such as "myapp.service"'),
        (
            values.service,
            "x@.service",
            (
                'the full name of a unit such as "myapp.service", found a template without an instance; '
                'name one, such as "x@1.service"'
            ),
        ),
        (
            values.template,
            "migrate.service",
            'the full name of a template unit such as "myapp-migrate@.service", did you mean "migrate@.service"?',
        ),
        (
            values.template,
            "migrate@1.service",
            (
                'the full name of a template unit such as "myapp-migrate@.service", '
                'with nothing between "@" and ".service"'
            ),
        ),
        (
            values.template,
            "migrate@",
            'the full name of a template unit such as "myapp-migrate@.service", did you mean "migrate@.service"?',
        ),
        (values.template, "a.socket", 'the full name of a template unit such as "myapp-migrate@.service"'),
        (
            values.templates,
            ["a@.service", "b"],
            (
                'full names of template units such as ["myapp-migrate@.service"] instead of "b", '
                'did you mean "b@.service"?'
            ),
        ),
        (values.templates, "a@.service", 'template units such as ["myapp-migrate@.service"], found a string'),
        (
            values.templates,
            [1],
            'full names of template units such as ["myapp-migrate@.service"], found an integer',
        ),
        (values.command, [], 'a program and its arguments such as ["node", "server.js"]'),
        (values.command, [""], 'a program and its arguments such as ["node", "server.js"]'),
        (values.command, "node x", 'a program and its arguments such as ["node", "server.js"], found a string'),
        (values.environment, [], 'variables and their values such as { PORT = "8080" }, found an array'),
        (
            values.environment,
            {"PORT": 8080},
            'variables and their values such as { PORT = "8080" }, each a string; PORT is not, found an integer',
        ),
        (
            values.environment,
            {"A-B": "1"},
            'variables and their values such as { PORT = "8080" }, found the name "A-B"',
        ),
    ],
)
def test_what_is_refused_and_how(reader: Reader, value: object, expected: str) -> None:
    assert refusal(reader, value) == expected
