from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropdeploy.cli.logs import Span, journal_command, span_of
from dropdeploy.cli.refusal import Refusal
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.outcome import Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from tests.agent.world import World, wait_for

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
SHOP = App("shop", Path("/home/shop"), Path("/srv/drop/shop"), "shop.service")


def outcome(number: int, *steps: tuple[StepName, float], status: Status = Status.DEPLOYED) -> Outcome:
    started = NOW + timedelta(minutes=number)
    made = tuple(Step(name, StepStatus.OK, seconds) for name, seconds in steps)
    return Outcome(status, "told", "shop", Action.DEPLOY, number, started, started, steps=made)


DEPLOYED = ((StepName.PREFLIGHT, 1.0), (StepName.SWAP, 0.5), (StepName.RESTART, 2.0))
OUTCOMES = (
    outcome(4, *DEPLOYED),
    outcome(3, (StepName.PREFLIGHT, 1.0), status=Status.REJECTED),
    outcome(2, *DEPLOYED, *DEPLOYED, status=Status.ROLLED_BACK),
)


def test_the_span_begins_with_the_restart_and_ends_with_the_next_one() -> None:
    restarted_2, restarted_4 = (NOW + timedelta(minutes=minute, seconds=1.5) for minute in (2, 4))
    assert span_of(OUTCOMES, SHOP, None) == Span(restarted_4)
    assert span_of(OUTCOMES, SHOP, 4) == Span(restarted_4)
    assert span_of(OUTCOMES, SHOP, 2) == Span(restarted_2, restarted_4)
    assert span_of((), SHOP, None) == Span()


@pytest.mark.parametrize(
    ("deploy", "why"), [(3, "deploy 3 has not restarted shop.service: rejected"), (9, "no deploy 9")]
)
def test_a_deploy_without_a_run_of_the_unit(deploy: int, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        span_of(OUTCOMES, SHOP, deploy)


def test_journalctl_is_told_all_of_it() -> None:
    assert journal_command(SHOP, Span(NOW, NOW), 5, is_user=False, is_json=True, follows=True) == [
        "journalctl",
        "--no-pager",
        "--unit=shop.service",
        "--since=@1769178622.000000",
        "--until=@1769178622.000000",
        "--lines=5",
        "--output=json",
        "--follow",
    ]
    app = App("shop", Path("/home/shop"), Path("/srv/drop/shop"), "shop.service", strategy=Strategy.HANDOVER)
    units = journal_command(app, Span(), None, is_user=True, is_json=False, follows=False)[2:]
    assert units == ["--user-unit=shop.service", "--user-unit=shop@*.service"]


def test_the_log_of_an_embedded_unit(agent: World) -> None:
    first, second = agent.deploy("v1"), agent.deploy("v2", exit=1)
    assert agent.run("logs", "myapp", str(first["id"])).stdout.endswith(" booting v1\n")
    told = agent.run("logs", "myapp", str(second["id"])).stdout
    assert "cannot go on: DATABASE_URL is not set" in told
    assert told.rindex(" booting v1\n") > told.index(" booting v2\n")  # the way back
    lines = agent.run("logs", "myapp", str(second["id"]), "--json").stdout.splitlines()
    assert {json.loads(line)["message"] for line in lines} >= {"booting v2", "booting v1"}
    assert len(agent.run("logs", "myapp", "-n", "2").stdout.splitlines()) == 2
    assert agent.run("logs", "myapp", "99").returncode == 2


def test_following_the_log_and_the_history(agent: World) -> None:
    agent.deploy("v1")
    commands = (["logs", "myapp", "-f"], ["history", "myapp", "-f", "--json"], ["history", "--follow"])
    followers = [
        subprocess.Popen(agent.command(*command), env=agent.environment(), stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    logs, history, table = followers
    assert logs.stdout is not None
    assert history.stdout is not None
    assert table.stdout is not None
    assert logs.stdout.readline().endswith(" booting v1\n")
    assert json.loads(history.stdout.readline())["status"] == "deployed"
    assert table.stdout.readline().split()[:4] == ["ID", "WHEN", "APP", "WHAT"]
    assert "v1.tar.gz" in table.stdout.readline()
    second = agent.deploy("v2")
    assert logs.stdout.readline().endswith(" booting v2\n")
    assert json.loads(history.stdout.readline())["id"] == second["id"]
    assert "v2.tar.gz" in table.stdout.readline()
    table.stdout.close()  # the reader of a pipe has gone: no need to wait for the next deploy
    assert table.wait(10) == 0
    for follower in (logs, history):
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
        assert follower.stdout is not None
        follower.stdout.close()


def test_following_a_history_that_is_not_there_yet(world: World) -> None:
    command = world.command("history", "--follow", "--json")
    with subprocess.Popen(command, env=world.environment(), stdout=subprocess.PIPE, text=True) as follower:
        world.start()
        world.put("notes.pdf")
        wait_for("verdict", (world.drop / "notes.pdf.result.toml").exists)
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["status"] == "rejected"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
