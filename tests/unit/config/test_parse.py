"""The whole configuration: every key read, every mistake told at once."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from dropdeploy.config.keys import APP, SETTINGS, Key, Table
from dropdeploy.config.parse import Mistake, SourceText, parse_config
from dropdeploy.model.app import (
    Accept,
    App,
    EmbeddedUnit,
    HealthCheck,
    Hooks,
    Notify,
    OnFailure,
    RateLimit,
    Strategy,
    TrialCheck,
)
from dropdeploy.model.config import Bus, Config, Settings
from dropdeploy.model.outcome import Status

ETC = "/etc/dropdeploy"

# The configuration reference of the contract, every key with its default.
MAIN_REFERENCE = """
state = "/var/lib/dropdeploy"
drop = "/srv/drop"
concurrency = 2
rescan = "30s"
bus = "system"
listen = ""
listen_token_file = ""
"""
APP_REFERENCE = """
root = "/home/myapp"
drop = "/srv/drop/myapp"
unit = "myapp.service"
group = ""
keep = 5
keep_results = 20
shared = []
strip = 0
dedupe = false
strategy = "restart"
on_failure = "rollback"
rate_limit = "30/1h"
queue = "all"
after = "delete"
status_page = false
settle = "2s"
stall = "60s"
[accept]
completion = "proof"
checksum = "optional"
signature = "off"
allowed_signers = "/etc/dropdeploy/allowed_signers"
max_bytes = "2G"
max_unpacked = "8G"
max_entries = 500000
[health]
url = ""
host = ""
status = [200]
interval = "5s"
timeout = "2min"
attempt_timeout = "5s"
successes = 1
soak = "0s"
[trial]
unit = ""
url = ""
timeout = "2min"
[hooks]
before_swap = []
after_live = []
timeout = "10min"
[notify]
webhook = ""
format = "json"
secret_file = ""
email = []
on = ["deployed", "rolled-back", "failed", "rejected", "incomplete", "superseded", "cancelled"]
"""


def parse(main: str | None = None, **apps: str) -> Config | tuple[Mistake, ...]:
    """Files by name; ``my_app="…"`` is apps.d/my_app.toml."""
    return parse_config(
        None if main is None else SourceText(f"{ETC}/dropdeploy.toml", main),
        [SourceText(f"{ETC}/apps.d/{name}.toml", text) for name, text in apps.items()],
    )


def config(main: str | None = None, **apps: str) -> Config:
    parsed = parse(main, **apps)
    assert isinstance(parsed, Config), "\n".join(map(str, parsed))
    return parsed


def mistakes(main: str | None = None, **apps: str) -> list[str]:
    parsed = parse(main, **apps)
    assert isinstance(parsed, tuple), parsed
    return [str(mistake).removeprefix(f"{ETC}/") for mistake in parsed]


# --- what is right -------------------------------------------------------------------------------------


def test_nothing_at_all_is_a_configuration() -> None:
    assert config() == Config(Settings(), ())


def test_an_empty_file_is_a_valid_app() -> None:
    app = App("myapp", root=Path("/home/myapp"), drop=Path("/srv/drop/myapp"), unit="myapp.service")
    assert config(myapp="") == Config(Settings(), (app,))


def test_every_default_is_what_the_reference_says() -> None:
    assert config(MAIN_REFERENCE, myapp=APP_REFERENCE) == config(myapp="")


def keys_of(table: Table) -> dict[str, object]:
    return {key: keys_of(known) if isinstance(known, Table) else None for key, known in table.keys.items()}


def keys_in(found: dict[str, object]) -> dict[str, object]:
    return {key: keys_in(value) if isinstance(value, dict) else None for key, value in found.items()}


def test_the_reference_names_every_key() -> None:
    known = keys_of(APP)
    del known["embedded"]  # it has no defaults: there is none, or it says what to run
    assert known == keys_in(tomllib.loads(APP_REFERENCE))
    assert keys_of(SETTINGS) == keys_in(tomllib.loads(MAIN_REFERENCE))


def test_each_key_fills_its_field() -> None:
    main = """
        state = "/srv/state"
        drop = "/srv/in"
        concurrency = 4
        rescan = "1min"
        bus = "embedded"
        listen = "0.0.0.0:8731"
        listen_token_file = "/etc/token"
    """
    app = """
        root = "/srv/app"
        unit = "web.service"
        group = "www-data"
        keep = 3
        keep_results = 7
        shared = [".env", "uploads/"]
        strip = 1
        dedupe = false
        strategy = "reload"
        on_failure = "keep"
        rate_limit = "5/10min"
        queue = "latest"
        after = "keep"
        status_page = true
        settle = "500ms"
        stall = 90
        [accept]
        completion = "ready"
        checksum = "required"
        signature = "required"
        allowed_signers = "/etc/signers"
        max_bytes = "1G"
        max_unpacked = "3G"
        max_entries = 10
        [health]
        url = "unix:/run/app.sock:/health"
        host = "www.example.com"
        status = [200, 204]
        interval = "1s"
        timeout = "30s"
        attempt_timeout = "2s"
        successes = 2
        soak = "10s"
        [trial]
        unit = "web-trial@.service"
        url = "unix:/run/trial.sock:/health"
        timeout = "1min"
        [hooks]
        before_swap = ["web-migrate@.service"]
        after_live = ["web-warm@.service", "web-tell@.service"]
        timeout = "5min"
        [notify]
        webhook = "https://hooks.example.com/x"
        format = "slack"
        secret_file = "/etc/secret"
        on = ["failed", "rolled-back"]
        [embedded]
        command = ["node", "server.js"]
        listen = "127.0.0.1:8080"
        environment = { NODE_ENV = "production" }
    """
    assert config(main, web=app) == Config(
        Settings(Path("/srv/state"), Path("/srv/in"), 4, 60.0, Bus.EMBEDDED, "0.0.0.0:8731", Path("/etc/token")),
        (
            App(
                "web",
                Path("/srv/app"),
                Path("/srv/in/web"),
                "web.service",
                "www-data",
                3,
                7,
                (".env", "uploads/"),
                1,
                False,
                Strategy.RELOAD,
                OnFailure.KEEP,
                RateLimit(5, 600.0),
                "latest",
                "keep",
                True,
                0.5,
                90.0,
                Accept("ready", "required", "required", Path("/etc/signers"), 1024**3, 3 * 1024**3, 10),
                HealthCheck("unix:/run/app.sock:/health", "www.example.com", (200, 204), 1.0, 30.0, 2.0, 2, 10.0),
                TrialCheck("web-trial@.service", "unix:/run/trial.sock:/health", 60.0),
                Hooks(("web-migrate@.service",), ("web-warm@.service", "web-tell@.service"), 300.0),
                Notify(
                    "https://hooks.example.com/x",
                    "slack",
                    Path("/etc/secret"),
                    on=(Status.ROLLED_BACK, Status.FAILED),
                ),
                EmbeddedUnit(("node", "server.js"), "127.0.0.1:8080", (("NODE_ENV", "production"),)),
            ),
        ),
    )


def test_apps_stand_in_order_of_name_and_drop_below_the_common_parent() -> None:
    apps = config('drop = "/in"', zoo="", **{"a-b": "", "a.b": "", "a": ""}).apps
    assert [(app.name, str(app.drop)) for app in apps] == [
        ("a", "/in/a"),
        ("a-b", "/in/a-b"),
        ("a.b", "/in/a.b"),
        ("zoo", "/in/zoo"),
    ]


def test_a_bom_and_crlf_are_no_mistakes() -> None:
    assert config(myapp="\ufeffkeep = 3\r\nstrip = 1\r\n").apps[0].keep == 3


def test_mail_is_sent_by_a_unit_of_systemds() -> None:
    assert config(myapp='[notify]\nemail = "ops@example.com"').apps[0].notify.email == ("ops@example.com",)
    (mistake,) = mistakes('bus = "embedded"', a='[notify]\nemail = ["root"]\n[embedded]\ncommand = ["true"]')
    assert mistake.startswith('apps.d/a.toml: notify.email = ["root"]: not with bus = "embedded"')


def test_what_the_app_could_change_is_not_shared() -> None:
    assert config(myapp="dedupe = true").apps[0].dedupe
    (mistake,) = mistakes('bus = "user"', a="dedupe = true")
    assert mistake.startswith('apps.d/a.toml: dedupe = true: not with bus = "user": the app runs as the agent')
    assert mistakes(a="dedupe = 1") == ["apps.d/a.toml: dedupe = 1: expected true or false, found an integer"]


def test_the_address_of_a_webhook_is_not_shown() -> None:
    assert mistakes(a='[notify]\nwebhook = "ftp://hooks.example.com/token"') == [
        "apps.d/a.toml: notify.webhook: expected a URL that begins with http:// or https://"
    ]


def test_an_embedded_table_is_no_mistake_on_another_bus() -> None:
    assert config(myapp='[embedded]\ncommand = ["true"]').apps[0].embedded == EmbeddedUnit(("true",))


# --- what is wrong -------------------------------------------------------------------------------------


def test_every_mistake_in_every_file_at_once() -> None:
    assert mistakes(
        'concurrency = 0\nbuss = "user"\n',
        b="keep = 0\nstall = true\n[health]\ninterval = '5x'\n[accept]\nmax_bytes = '2GB'\n",
        a="kepp = 3\n",
    ) == [
        "dropdeploy.toml: concurrency = 0: expected a whole number of at least 1",
        'dropdeploy.toml: buss = "user": unknown key, did you mean "bus"?',
        'apps.d/a.toml: kepp = 3: unknown key, did you mean "keep"?',
        "apps.d/b.toml: keep = 0: expected a whole number of at least 1",
        'apps.d/b.toml: stall = true: expected a time span such as "500ms", "5s" or "1h 30min", found a boolean',
        'apps.d/b.toml: health.interval = "5x": expected a time span such as "500ms", "5s" or "1h 30min"',
        'apps.d/b.toml: accept.max_bytes = "2GB": expected a size such as "512M" or "2G" (K, M, G or T, base 1024)',
    ]


def test_a_mistake_has_its_parts() -> None:
    assert parse(myapp="keep = 0") == (
        Mistake(f"{ETC}/apps.d/myapp.toml", "keep", "0", "expected a whole number of at least 1"),
    )


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        # the classic: a key below a header belongs to that table
        (
            "[health]\nurl = ''\nkeep = 3",
            'health.keep = 3: unknown key here, "keep" belongs at the top of an app\'s file, above its first [table]',
        ),
        (
            "timeout = '5s'",
            'timeout = "5s": unknown key here, "timeout" belongs in [health] or in [trial] or in [hooks]',
        ),
        ("bus = 'user'", 'bus = "user": unknown key here, "bus" belongs in dropdeploy.toml'),
        ("[helth]\nurl = ''", 'helth: unknown key, did you mean "health"?'),
        (
            "[notify]\nqqq = [1]",
            "notify.qqq = [1]: unknown key, known here are webhook, format, secret_file, email, on",
        ),
        ("'a b' = 1", '"a b" = 1: unknown key, known here are root, drop, unit'),
        ("health = 3", "health = 3: expected a table, [health], found an integer"),
        ("[[health]]", "health = [{}]: expected a table, [health], found an array"),
        ("[keep]\nx = 1", "keep: expected a whole number of at least 1, found a table"),
        (
            "[embedded]",
            'embedded.command: missing: expected a program and its arguments such as ["node", "server.js"]',
        ),
        (
            "strategy = 'handover'\nunit = 'a@b.service'",
            'unit = "a@b.service": expected a unit without "@": strategy = "handover" runs releases as its instances',
        ),
        ("keep = ", "end of document: not valid TOML: invalid value"),
        ("keep = 3\nkeep = 4", "end of document: not valid TOML: cannot overwrite a value"),
        ("keep = 3 4", "line 1, column 10: not valid TOML: expected newline or end of document after a statement"),
        ('root = "/home', "end of document: not valid TOML: unterminated string"),
        ("keep = " + "9" * 5000, "not valid TOML: Exceeds the limit"),
        ("keep = " + "[" * 100_000, "not valid TOML: nested too deeply"),
        ("group = '" + "x " * 200 + "'", 'group = "' + "x " * 49 + "x…: expected the name of a group"),
    ],
)
def test_a_mistake_says_what_was_expected(text: str, mistake: str) -> None:
    (told,) = mistakes(myapp=text)
    assert told.startswith(f"apps.d/myapp.toml: {mistake}")


@pytest.mark.parametrize("name", ["My-App", "-a", "a-", "a b", "größe", "a" * 65, "", "a@b"])
def test_an_app_name_must_be_fit_for_directories_and_units(name: str) -> None:
    told = mistakes(**{name: "kepp = 3"})
    assert told[0].startswith(f"apps.d/{name}.toml: the file's name is the app's name: expected up to 64 of a-z")
    assert told[0].endswith(f'found "{name}"')
    assert len(told) == 2, "what is wrong inside is told too"


def test_with_the_embedded_supervisor_each_app_says_what_to_run() -> None:
    (mistake,) = mistakes('bus = "embedded"', a="", b='[embedded]\ncommand = ["true"]')
    assert mistake == (
        'apps.d/a.toml: embedded: missing: with bus = "embedded" it says what to run, '
        'expected [embedded] with command = ["…"]'
    )


def test_an_embedded_table_with_a_mistake_is_not_also_missing() -> None:
    assert len(mistakes('bus = "embedded"', a="[embedded]\ncommand = 3")) == 1


# --- what apps must not share --------------------------------------------------------------------------


def starts(told: Iterable[str], *expected: str) -> None:
    told = list(told)
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start), line


def test_two_apps_sharing_a_root_a_drop_directory_and_a_unit() -> None:
    starts(
        mistakes(a="", b='root = "/home/a/"\ndrop = "/srv/drop/a"\nunit = "a.service"'),
        f'apps.d/b.toml: root = "/home/a": is also the root of app "a" ({ETC}/apps.d/a.toml); each needs one of',
        'apps.d/b.toml: drop = "/srv/drop/a": is also the drop directory of app "a"',
        'apps.d/b.toml: unit = "a.service": is also the unit of app "a"',
    )


def test_the_default_of_one_may_be_what_another_chose() -> None:
    starts(mistakes(a='root = "/home/b"', b=""), 'apps.d/b.toml: root = "/home/b": is also the root of app "a"')


def test_directories_within_directories() -> None:
    starts(
        mistakes(a='root = "/srv/a/b/c"', b='root = "/srv/a"', c='drop = "/home/c/in"', d='root = "/srv/drop"'),
        f'apps.d/a.toml: root = "/srv/a/b/c": is inside the root of app "b", /srv/a ({ETC}/apps.d/b.toml); they',
        'apps.d/a.toml: drop = "/srv/drop/a": is inside the root of app "d", /srv/drop',
        'apps.d/b.toml: drop = "/srv/drop/b": is inside the root of app "d", /srv/drop',
        'apps.d/c.toml: drop = "/home/c/in": is inside the root of app "c", /home/c',
        'apps.d/d.toml: drop = "/srv/drop/d": is inside the root of app "d", /srv/drop',
    )


def test_a_root_that_is_a_drop_directory() -> None:
    starts(
        mistakes(a='drop = "/home/a"'),
        'apps.d/a.toml: drop = "/home/a": is also the root of app "a"',
    )


def test_neighbours_with_a_common_beginning_share_nothing() -> None:
    config(a='root = "/srv/app"', b='root = "/srv/app2"')


def test_one_address_for_two_listeners() -> None:
    embedded = '[embedded]\ncommand = ["true"]\nlisten = "{}"'
    starts(
        mistakes(
            'bus = "embedded"\nlisten = "127.0.0.1:8731"',
            a=embedded.format("127.0.0.1:8731"),
            b=embedded.format("0.0.0.0:8080"),
            c=embedded.format("127.0.0.1:8080"),
            d=embedded.format("/run/d.sock"),
            e=embedded.format("/run/d.sock"),
        ),
        'apps.d/a.toml: embedded.listen = "127.0.0.1:8731": is also the address of the status page',
        'apps.d/c.toml: embedded.listen = "127.0.0.1:8080": overlaps the address of app "b", 0.0.0.0:8080',
        'apps.d/e.toml: embedded.listen = "/run/d.sock": is also the address of app "d"',
    )


def test_a_page_that_others_can_reach_needs_a_token() -> None:
    told = 'dropdeploy.toml: listen = "{}": everybody on the network could read the page: name a file with a token'
    for address in ("0.0.0.0:8731", "192.0.2.1:8731", "[::]:8731"):
        starts(mistakes(f'listen = "{address}"'), told.format(address))
        config(f'listen = "{address}"\nlisten_token_file = "/etc/token"')
    for address in ("", "127.0.0.1:8731", "127.0.0.2:8731", "[::1]:8731", "/run/dropdeploy/http.sock"):
        config(f'listen = "{address}"')


def test_an_embedded_address_counts_only_where_it_is_used() -> None:
    embedded = '[embedded]\ncommand = ["true"]\nlisten = "127.0.0.1:8080"'
    config('bus = "user"', a=embedded, b=embedded)


def test_what_is_mistaken_already_is_not_compared() -> None:
    starts(mistakes(a='root = "~/x"', b='root = "/home/a"'), 'apps.d/a.toml: root = "~/x": expected an absolute path')
    starts(mistakes(a="root = ", b='root = "/home/a"'), "apps.d/a.toml: end of document")


def test_many_apps_are_compared_quickly_enough_to_reload() -> None:
    apps = {f"app-{number}": "" for number in range(2000)}
    assert len(config(None, **apps).apps) == 2000


def test_the_keys_are_readers_or_tables() -> None:
    """Each reader refuses what no key takes, rather than raising."""
    for table in (SETTINGS, *(known for known in APP.keys.values() if isinstance(known, Table)), APP):
        for name, known in table.keys.items():
            if isinstance(known, Key):
                for value in (object(), None, [[]], {"": {}}, float("nan"), -1, "\0", ["\0"], "\ud800"):
                    known.read(value)
                    assert name
