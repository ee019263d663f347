"""The result file: its exact shape, and what is read back from it."""

import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.result import deploying_text, outcome_as_json, parse_result, result_text, to_toml

STARTED = datetime(2026, 1, 23, 14, 30, 22, 104_999, tzinfo=UTC)
FINISHED = datetime(2026, 1, 23, 14, 30, 25, 310_000, tzinfo=UTC)

GOOD = Outcome(
    status=Status.DEPLOYED,
    summary="20260123-143022 is live and healthy after 1.9 s",
    app="myapp",
    action=Action.DEPLOY,
    id=42,
    started=STARTED,
    finished=FINISHED,
    upload="build.tar.gz",
    bytes=11_909_697,
    sha256="ab" * 32,
    release="20260123-143022",
    live="20260123-143022",
    live_healthy=True,
    previous="20260122-091545",
    health=HealthReport(True, 3, 1.9, 200, "…"),
    meta=(("commit", "1a2b3c4"), ("what it is", "two\nlines")),
    steps=(
        Step(StepName.PREFLIGHT, StepStatus.OK, 0.0041),
        Step(StepName.EXTRACT, StepStatus.OK, 1.0, "1236 files"),
        Step(StepName.TRIAL, StepStatus.SKIPPED, 0.0),
    ),
)
BAD = replace(
    GOOD,
    status=Status.ROLLED_BACK,
    summary="20260123-143022 was ill, 20260122-091545 is live again",
    live="20260122-091545",
    fault=Fault(
        ErrorCode.HEALTH_TIMEOUT,
        "http://127.0.0.1:3000/api/health answered 500 for 120 s (24 attempts)",
        "look at the log below",
        'Error: no "DATABASE_URL"\n\x1b[31m  at C:\\x """quoted"""\x1b[0m\n',
    ),
    fault_step=StepName.HEALTH,
    health=HealthReport(False, 24, 120.0, None),
    meta=(),
)
BARE = Outcome(Status.REJECTED, "nothing", "myapp", Action.RESTART, 1, STARTED, STARTED)


def test_a_good_result_is_this_text() -> None:
    assert (
        result_text(GOOD)
        == f'''schema = 1
status = "deployed"
summary = "20260123-143022 is live and healthy after 1.9 s"
app = "myapp"
action = "deploy"
id = 42
upload = "build.tar.gz"
bytes = 11909697
sha256 = "{"ab" * 32}"
release = "20260123-143022"
live = "20260123-143022"
live_healthy = true
previous = "20260122-091545"
started = 2026-01-23T14:30:22.104Z
finished = 2026-01-23T14:30:25.310Z
seconds = 3.206

[health]
attempts = 3
last_status = 200

[meta]
commit = "1a2b3c4"
"what it is" = """
two
lines"""

[[steps]]
name = "preflight"
status = "ok"
seconds = 0.004
detail = ""

[[steps]]
name = "extract"
status = "ok"
seconds = 1.0
detail = "1236 files"

[[steps]]
name = "trial"
status = "skipped"
seconds = 0.0
detail = ""
'''
    )


def test_a_bad_result_says_why() -> None:
    text = result_text(BAD)
    assert (
        '''
[error]
code = "health-timeout"
step = "health"
message = "http://127.0.0.1:3000/api/health answered 500 for 120 s (24 attempts)"
hint = "look at the log below"
log = """
Error: no \\"DATABASE_URL\\"
  at C:\\\\x \\"\\"\\"quoted\\"\\"\\"
"""

[health]
attempts = 24

[[steps]]
'''
        in text
    )


def test_what_does_not_apply_is_absent() -> None:
    assert list(tomllib.loads(result_text(BARE))) == [
        *("schema", "status", "summary", "app", "action", "id", "started", "finished", "seconds")
    ]


def test_zero_and_false_do_apply() -> None:
    table = tomllib.loads(result_text(replace(BARE, bytes=0, live_healthy=False)))
    assert (table["bytes"], table["live_healthy"], table["seconds"]) == (0, False, 0.0)


def test_a_deployed_result_has_no_error_even_when_something_was_noted() -> None:
    assert "error" not in tomllib.loads(result_text(replace(GOOD, fault=BAD.fault, fault_step=StepName.PRUNE)))


def test_times_are_in_utc_wherever_they_come_from() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    text = result_text(replace(GOOD, started=STARTED.astimezone(east), finished=FINISHED.astimezone(east)))
    assert text == result_text(GOOD)


def test_what_strangers_sent_does_no_harm() -> None:
    text = result_text(
        replace(
            BAD,
            upload="caf\udce9\x1b[2J.zip",
            summary="a\nb",
            meta=(("\x1b[1m\x07", "\udcff"),),
            fault=Fault(ErrorCode.UNSAFE_ENTRY, "entry a\nb\x00 " + "x" * 9999, log="y" * 10_000_000),
        )
    )
    assert len(text.encode()) < 5000
    table = tomllib.loads(text)
    assert table["upload"] == r"caf\xe9.zip"
    assert table["summary"] == "a b"
    assert table["meta"] == {r"\x07": r"\xff"}
    assert table["error"]["message"].startswith(r"entry a b\x00 xxx")


def test_json_has_the_same_keys_and_times_as_text() -> None:
    for outcome in (GOOD, BAD, BARE):
        told = json.loads(json.dumps(outcome_as_json(outcome)))
        table = tomllib.loads(result_text(outcome))
        times = {key: value.isoformat(timespec="milliseconds").replace("+00:00", "Z") for key, value in _times(table)}
        assert told == table | times
        assert list(told) == list(table)
        assert told["started"] == "2026-01-23T14:30:22.104Z"


def _times(table: dict[str, object]) -> list[tuple[str, datetime]]:
    return [(key, value) for key, value in table.items() if isinstance(value, datetime)]


# --- read back -----------------------------------------------------------------------------------------


def in_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def as_read_back(outcome: Outcome) -> Outcome:
    health = outcome.health
    return replace(
        outcome,
        started=in_milliseconds(outcome.started),
        finished=in_milliseconds(outcome.finished),
        steps=tuple(replace(step, seconds=round(step.seconds, 3)) for step in outcome.steps),
        health=replace(health, seconds=0.0, detail="") if health else None,
    )


@pytest.mark.parametrize("outcome", [GOOD, BARE], ids=["good", "bare"])
def test_a_result_is_read_back(outcome: Outcome) -> None:
    assert parse_result(result_text(outcome)) == as_read_back(outcome)


def test_a_failed_result_is_read_back_with_its_log_made_harmless() -> None:
    read = parse_result(result_text(BAD))
    assert BAD.fault
    assert read == as_read_back(
        replace(BAD, fault=replace(BAD.fault, log='Error: no "DATABASE_URL"\n  at C:\\x """quoted"""\n'))
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema = ",
        "schema = 2",
        "schema = 1",
        "a = " + "[" * 100_000,
        "a = " + "9" * 5000,
        result_text(GOOD).replace('"deployed"', '"splendid"'),
        result_text(GOOD).replace(".104Z", ""),
        result_text(GOOD).replace("2026-01-23T14:30:22.104Z", '"now"'),
        result_text(GOOD).replace("[health]\nattempts = 3", "health = 3\n[x]"),
        result_text(GOOD).replace("[[steps]]", "[steps]", 1).replace("[[steps]]", "[[steps.x]]"),
        "meta = 3\n" + result_text(BARE),
    ],
)
def test_what_is_no_result(text: str) -> None:
    assert parse_result(text) is None


@given(
    st.builds(
        Outcome,
        status=st.sampled_from(Status),
        summary=st.text(max_size=20),
        app=st.just("a"),
        action=st.sampled_from(Action),
        id=st.integers(0, 2**40),
        started=st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        finished=st.just(FINISHED),
        upload=st.text(st.characters(), max_size=20),
        fault=st.none() | st.builds(Fault, st.sampled_from(ErrorCode), st.text(), st.text(), st.text(st.characters())),
        fault_step=st.none() | st.sampled_from(StepName),
        meta=st.dictionaries(st.text(st.characters(), max_size=9), st.text(st.characters(), max_size=9)).map(
            lambda meta: tuple(meta.items())
        ),
        steps=st.lists(
            st.builds(Step, st.sampled_from(StepName), st.sampled_from(StepStatus), st.floats(0, 1e9), st.text())
        ).map(tuple),
    )
)
def test_any_outcome_is_written_and_read(outcome: Outcome) -> None:
    text = result_text(outcome)
    read = parse_result(text)
    assert read is not None
    assert (read.status, read.id, len(read.steps)) == (outcome.status, outcome.id, len(outcome.steps))
    assert result_text(read) == text


# --- the other files -----------------------------------------------------------------------------------


def test_deploying() -> None:
    assert (
        deploying_text("extract", STARTED, [Step(StepName.PREFLIGHT, StepStatus.OK, 0.004)], 42.9)
        == """step = "extract"
percent = 42
started = 2026-01-23T14:30:22.104Z

[[steps]]
name = "preflight"
status = "ok"
seconds = 0.004
detail = ""
"""
    )


def test_deploying_while_held() -> None:
    assert deploying_text("held", STARTED, ()) == 'step = "held"\nstarted = 2026-01-23T14:30:22.104Z\n'


@pytest.mark.parametrize(("percent", "told"), [(-1.0, 0), (0.0, 0), (99.99, 99), (100.0, 100), (250.0, 100)])
def test_percent_is_whole_and_within_bounds(percent: float, told: int) -> None:
    assert tomllib.loads(deploying_text("extract", STARTED, (), percent))["percent"] == told


def test_any_table_as_toml() -> None:
    table = {"a": [], "b": ["x", "y"], "t": {"since": STARTED}, "releases": [{"id": "1"}, {"id": "2", "ok": True}]}
    assert to_toml(table) == (
        'a = []\nb = [\n    "x",\n    "y",\n]\n\n[t]\nsince = 2026-01-23T14:30:22.104Z\n'
        '\n[[releases]]\nid = "1"\n\n[[releases]]\nid = "2"\nok = true\n'
    )
