"""The agent's figures as Prometheus reads them; the only place that knows its client library.

Names as https://prometheus.io/docs/practices/naming/ has them: base units, times as Unix time (``time() - x`` is how
long ago), ``_info`` for what is not a number. README, "The page", tells of them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from dropdeploy import __version__
from dropdeploy.report.status import AppNow
from dropdeploy.report.tally import BOUNDS_S, Glance, Spans, Tally

Value = bool | int | float | None


def exposition(glance: Glance, accept: str = "") -> tuple[bytes, str]:
    """The figures and their content type, in the format that an ``Accept`` header asks for.

    Takes some 10 ms for each hundred apps: call it in a thread.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(glance))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Figures(Collector):
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    def collect(self) -> Iterator[Metric]:
        """See the library."""
        glance = self._glance
        yield _labelled(
            "dropdeploy_build_info",
            "The agent that runs.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield GaugeMetricFamily("dropdeploy_apps", "Apps that are configured.", len(glance.apps))
        yield from _of_apps(glance.apps)
        yield from _counted(glance.tally, {now.app for now in glance.apps})
        yield from _of_watching(glance)


def _labelled(name: str, documentation: str, labels: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


# --- apps ----------------------------------------------------------------------------------------------

_OF_APP: tuple[tuple[str, str, Callable[[AppNow], Value]], ...] = (
    (
        "dropdeploy_live_release_healthy",
        "1 while the live release is known to be healthy, 0 while it is known not to be.",
        lambda now: now.is_healthy if now.live else None,
    ),
    (
        "dropdeploy_live_release_timestamp_seconds",
        "When the live release went live.",
        lambda now: now.since.timestamp() if now.live and now.since else None,
    ),
    ("dropdeploy_releases", "Releases on disk.", lambda now: len(now.releases)),
    ("dropdeploy_queue_length", "Uploads and markers that wait.", lambda now: len(now.queue)),
    ("dropdeploy_held", "1 while uploads wait because of a hold.", lambda now: now.is_held),
    ("dropdeploy_working", "1 while a deploy, rollback or restart is going on.", lambda now: bool(now.working)),
    (
        "dropdeploy_last_deploy_timestamp_seconds",
        "When the last verdict was given.",
        lambda now: now.last.finished.timestamp() if now.last else None,
    ),
    (
        "dropdeploy_last_deploy_seconds",
        "How long it took until the last verdict.",
        lambda now: now.last.seconds if now.last else None,
    ),
)


def _of_apps(apps: Iterable[AppNow]) -> Iterator[Metric]:
    live = GaugeMetricFamily("dropdeploy_live_release_info", "The live release.", labels=["app", "release"])
    last = GaugeMetricFamily(
        "dropdeploy_last_deploy_info", "The last verdict.", labels=["app", "action", "status", "error"]
    )
    for now in apps:
        if now.live:
            live.add_metric([now.app, now.live], 1)
        if now.last is not None:
            error = now.last.fault.code.value if now.last.fault else ""
            last.add_metric([now.app, now.last.action.value, now.last.status.value, error], 1)
    yield live
    yield last
    for name, documentation, look in _OF_APP:
        family = GaugeMetricFamily(name, documentation, labels=["app"])
        for now in apps:
            value = look(now)
            if value is not None:
                family.add_metric([now.app], value)
        yield family


# --- what was counted ------------------------------------------------------------------------------------


def _counted(tally: Tally, apps: set[str]) -> Iterator[Metric]:
    deploys = CounterMetricFamily(
        "dropdeploy_deploys", "Verdicts since the history began.", labels=["app", "action", "status"]
    )
    for (app, action, status), count in sorted(tally.verdicts.items()):
        if app in apps:
            deploys.add_metric([app, action, status], count)
    yield deploys
    yield _histogram(
        "dropdeploy_deploy_duration_seconds",
        "How long what was worked on took until its verdict, since the agent started.",
        "action",
        tally.deploys,
    )
    yield _histogram(
        "dropdeploy_step_duration_seconds", "How long each step took, since the agent started.", "step", tally.steps
    )


def _histogram(name: str, documentation: str, label: str, spans_by: Mapping[str, Spans]) -> Metric:
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    family = HistogramMetricFamily(name, documentation, labels=[label])
    for value, spans in sorted(spans_by.items()):
        buckets = list(zip(bounds, map(float, accumulate(spans.counts)), strict=True))
        family.add_metric([value], buckets, spans.sum_s)
    return family


# --- watching --------------------------------------------------------------------------------------------


def _of_watching(glance: Glance) -> Iterator[Metric]:
    unwatched = sum(1 for now in glance.apps if now.app in glance.unwatched)
    yield GaugeMetricFamily(
        "dropdeploy_watched_directories", "Drop directories that inotify watches.", len(glance.apps) - unwatched
    )
    yield GaugeMetricFamily(
        "dropdeploy_unwatched_directories",
        "Drop directories that are looked into every few seconds instead, or are not there.",
        unwatched,
    )
    overflows = "How often inotify lost events, and every drop directory was looked into instead."
    yield CounterMetricFamily("dropdeploy_inotify_overflows", overflows, glance.overflows)
    if glance.last_round_at is not None:
        yield GaugeMetricFamily(
            "dropdeploy_last_rescan_timestamp_seconds",
            "When all drop directories were looked after last.",
            glance.last_round_at,
        )
