"""A real Prometheus, the distribution's, reads a real agent; each query of the dashboard finds what it is to show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.box.machine import REPOSITORY, Box, wait_until
from tests.box.server import Server
from tests.box.uploading import open_shop

DASHBOARD = json.loads((REPOSITORY / "contrib/grafana/dropdeploy.json").read_text())
# As Grafana fills them in, "All" chosen.
VARIABLES = {"$instance": ".*", "$app": ".*", "$__rate_interval": "2m"}

CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: dropdeploy
    static_configs:
      - targets: ["127.0.0.1:8731"]
  - job_name: prometheus  # another process: its figures are none of the agent's
    static_configs:
      - targets: ["127.0.0.1:9090"]
"""

START = """
set -eu
systemd-run --quiet --unit=figures --property=DynamicUser=yes --property=StateDirectory=figures \\
    /usr/bin/prometheus --config.file=/etc/figures.yml --storage.tsdb.path=/var/lib/figures \\
    --web.listen-address=127.0.0.1:9090
"""


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


TARGETS = [
    pytest.param(panel, target, id=f"{panel['title']}, {target['refId']}")
    for panel in panels()
    for target in panel.get("targets", [])
]


@pytest.fixture(scope="module")
def box(own_server: Server) -> Box:
    """An agent that has seen success and failure, and a Prometheus that has read of both."""
    box = own_server.box
    shop = open_shop(own_server, "flask", "shop")
    box.write("/etc/dropdeploy/dropdeploy.toml", 'listen = "127.0.0.1:8731"\n', mode=0o640, owner="root:dropdeploy")
    own_server.agent("start")
    box.write("/etc/figures.yml", CONFIG)
    box.run("sh", "-c", START)
    wait_until(lambda: ask(box, 'dropdeploy_deploys_total{status="deployed"} == 0'), "the first scrape", 60)
    assert shop.deploy("v1")["status"] == "deployed"
    assert shop.deploy("v2")["status"] == "deployed"
    assert shop.deploy("v3", needs="DATABASE_URL")["status"] == "rolled-back"
    assert shop.roll_back()["status"] == "deployed"
    wait_until(lambda: ask(box, 'dropdeploy_deploys_total{action="rollback"} == 1'), "the last scrape", 60)
    return box


def get(box: Box, path: str, **parameters: str) -> Any:
    given = [word for name, value in parameters.items() for word in ("--data-urlencode", f"{name}={value}")]
    url = f"http://127.0.0.1:9090/api/v1/{path}"
    # While Prometheus starts, nobody listens, or it answers 503 in words.
    told = box.run("curl", "-fsS", "--get", *given, url, check=False)
    return json.loads(told.out)["data"] if told.code == 0 else []


def ask(box: Box, query: str) -> list[dict[str, Any]]:
    """The series that a query finds now."""
    data = get(box, "query", query=query)
    found: list[dict[str, Any]] = data["result"] if data else []
    return found


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text
    return text


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_query_of_the_dashboard_finds_what_it_shows(box: Box, panel: dict[str, Any], target: dict[str, Any]) -> None:
    found = ask(box, filled(target["expr"]))
    assert found
    wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    if panel["type"] == "table":
        wanted |= {"app", "instance"}
    for series in found:
        assert wanted <= series["metric"].keys()
        assert series["metric"].get("instance", "127.0.0.1:8731") == "127.0.0.1:8731"


def test_what_the_variables_offer(box: Box) -> None:
    offered = {}
    for variable in DASHBOARD["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((?P<series>.*), (?P<label>\w+)\)", variable.get("definition", ""))
        if asked:
            match = {"match[]": filled(asked["series"])}
            offered[variable["name"]] = get(box, f"label/{asked['label']}/values", **match)
    assert offered == {"instance": ["127.0.0.1:8731"], "app": ["shop"]}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ('dropdeploy_deploys_total{app="shop", action="deploy", status="deployed"}', 2),
        ('dropdeploy_deploys_total{app="shop", action="deploy", status="rolled-back"}', 1),
        ('dropdeploy_live_release_healthy{app="shop"}', 1),
        ('dropdeploy_step_duration_seconds_count{step="swap"}', 5),
        ('count(dropdeploy_last_deploy_info{app="shop", action="rollback", status="deployed"})', 1),
    ],
)
def test_figures(box: Box, query: str, value: float) -> None:
    (series,) = ask(box, query)
    assert float(series["value"][1]) == value


def test_prometheus_own_linter_has_nothing_to_say(box: Box) -> None:
    done = box.run("sh", "-c", "curl -fsS http://127.0.0.1:8731/metrics | promtool check metrics", check=False)
    assert done.code == 0, done
