"""What Prometheus is told, read with its own library's parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from dropdeploy import __version__
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.metrics import exposition
from dropdeploy.report.status import AppNow
from dropdeploy.report.tally import BOUNDS_S, Counter, Glance, Spans, Tally

NOON = datetime(2026, 1, 23, 12, 0, tzinfo=UTC)
STEPS = (
    Step(StepName.SWAP, StepStatus.OK, 0.004),
    Step(StepName.HEALTH, StepStatus.OK, 2.0),
    Step(StepName.TRIAL, StepStatus.SKIPPED, 0.0),
)
DEPLOYED = Outcome(
    Status.DEPLOYED, "", "shop", Action.DEPLOY, 7, NOON, NOON + timedelta(seconds=2.5), upload="v1.zip", steps=STEPS
)
SHOP = AppNow(
    "shop",
    live="20260123-120000",
    is_healthy=True,
    since=NOON,
    releases=(("20260123-120000", True), ("20260122-120000", None)),
    queue=("v2.zip", "v3.zip"),
    is_held=True,
    working="v1.zip: health",
    last=DEPLOYED,
)

Labels = tuple[tuple[str, str], ...]


def read(glance: Glance) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels."""
    content, kind = exposition(glance)
    assert kind.startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(content.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(samples: Mapping[tuple[str, Labels], float], name: str) -> dict[Labels, float]:
    return {labels: value for (found, labels), value in samples.items() if found == name}


def counted(*outcomes: Outcome) -> Tally:
    counter = Counter()
    for outcome in outcomes:
        counter.add(outcome)
    return counter.tally([])


def test_an_app() -> None:
    samples = read(Glance([SHOP], Tally()))
    shop: Labels = (("app", "shop"),)
    assert {name: value for (name, labels), value in samples.items() if labels == shop} == {
        "dropdeploy_live_release_healthy": 1,
        "dropdeploy_live_release_timestamp_seconds": NOON.timestamp(),
        "dropdeploy_releases": 2,
        "dropdeploy_queue_length": 2,
        "dropdeploy_held": 1,
        "dropdeploy_working": 1,
        "dropdeploy_last_deploy_timestamp_seconds": NOON.timestamp() + 2.5,
        "dropdeploy_last_deploy_seconds": 2.5,
    }
    assert of(samples, "dropdeploy_live_release_info") == {(("app", "shop"), ("release", "20260123-120000")): 1}
    assert of(samples, "dropdeploy_last_deploy_info") == {
        (("action", "deploy"), ("app", "shop"), ("error", ""), ("status", "deployed")): 1
    }
    assert samples["dropdeploy_apps", ()] == 1


def test_what_is_not_known_is_not_told() -> None:
    samples = read(Glance([AppNow("new"), AppNow("odd", live="20260123-120000", is_healthy=False)], Tally()))
    assert of(samples, "dropdeploy_live_release_healthy") == {(("app", "odd"),): 0}
    assert not of(samples, "dropdeploy_last_deploy_timestamp_seconds")
    assert not of(samples, "dropdeploy_last_rescan_timestamp_seconds")
    assert of(samples, "dropdeploy_held") == {(("app", "new"),): 0, (("app", "odd"),): 0}


def test_a_verdict_with_a_fault() -> None:
    ill = replace(DEPLOYED, status=Status.ROLLED_BACK, fault=Fault(ErrorCode.HEALTH_TIMEOUT, "it answered 500"))
    samples = read(Glance([replace(SHOP, last=ill)], Tally()))
    assert of(samples, "dropdeploy_last_deploy_info") == {
        (("action", "deploy"), ("app", "shop"), ("error", "health-timeout"), ("status", "rolled-back")): 1
    }


def test_verdicts_are_counted_on_from_the_history() -> None:
    counter = Counter()
    counter.begin({("shop", "deploy", "deployed"): 40, ("gone", "deploy", "failed"): 2})
    counter.add(DEPLOYED)
    counter.add(replace(DEPLOYED, status=Status.REJECTED, steps=()))
    samples = read(Glance([SHOP], counter.tally(["shop"])))
    assert of(samples, "dropdeploy_deploys_total") == {
        (("action", "deploy"), ("app", "shop"), ("status", "deployed")): 41,
        (("action", "deploy"), ("app", "shop"), ("status", "rejected")): 1,
        (("action", "deploy"), ("app", "shop"), ("status", "failed")): 0,
        (("action", "deploy"), ("app", "shop"), ("status", "rolled-back")): 0,
    }


def test_how_long_steps_take() -> None:
    samples = read(Glance([SHOP], counted(DEPLOYED, replace(DEPLOYED, steps=()))))
    buckets = of(samples, "dropdeploy_step_duration_seconds_bucket")
    health = {dict(labels)["le"]: value for labels, value in buckets.items() if ("step", "health") in labels}
    assert health == {**{str(bound): float(bound >= 2.0) for bound in BOUNDS_S}, "+Inf": 1.0}
    counts = of(samples, "dropdeploy_step_duration_seconds_count")
    assert {step for ((_, step),), count in counts.items() if count == 1} == {"health", "swap"}
    assert set(counts.values()) == {0, 1}
    assert of(samples, "dropdeploy_step_duration_seconds_sum")[(("step", "swap"),)] == pytest.approx(0.004)
    assert of(samples, "dropdeploy_deploy_duration_seconds_count") == {
        (("action", "deploy"),): 1,
        (("action", "restart"),): 0,
        (("action", "rollback"),): 0,
    }
    assert of(samples, "dropdeploy_deploy_duration_seconds_sum")[(("action", "deploy"),)] == 2.5


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (0.005, 0), (0.0051, 1), (600.0, 15), (601.0, 16)])
def test_a_span_belongs_to_the_bound_that_it_does_not_exceed(seconds: float, place: int) -> None:
    spans = Spans().with_one(seconds)
    assert [at for at, count in enumerate(spans.counts) if count] == [place]


def test_watching() -> None:
    glance = Glance(
        [AppNow("a"), AppNow("b"), AppNow("c")], Tally(), frozenset({"b", "gone"}), overflows=3, last_round_at=12.5
    )
    samples = read(glance)
    assert samples["dropdeploy_watched_directories", ()] == 2
    assert samples["dropdeploy_unwatched_directories", ()] == 1
    assert samples["dropdeploy_inotify_overflows_total", ()] == 3
    assert samples["dropdeploy_last_rescan_timestamp_seconds", ()] == 12.5


def test_the_agent_itself() -> None:
    samples = read(Glance([], Tally()))
    ((labels, _),) = of(samples, "dropdeploy_build_info").items()
    assert ("version", __version__) in labels
    assert samples["process_resident_memory_bytes", ()] > 1e6
    assert samples["process_cpu_seconds_total", ()] > 0
    assert samples["process_open_fds", ()] > 0


def test_openmetrics_for_those_who_ask() -> None:
    content, kind = exposition(Glance([SHOP], counted(DEPLOYED)), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(content.decode())}
    assert {"dropdeploy_deploys", "dropdeploy_step_duration_seconds"} <= names


def test_names_cannot_break_out() -> None:
    strange = 'a"} 1\nevil{x="\\'
    samples = read(Glance([replace(SHOP, app=strange, live=strange)], Tally()))
    assert of(samples, "dropdeploy_live_release_info") == {(("app", strange), ("release", strange)): 1}
    assert not of(samples, "evil")
