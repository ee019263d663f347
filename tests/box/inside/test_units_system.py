"""What only the machine's own systemd can show: permissions, masks, sockets, a bus that goes away."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState
from dropdeploy.units.systemd import BusAwayError, SystemdUnits
from tests.box.inside.systemd_bench import UNIT_FILES, SystemdBench, run, systemctl
from tests.unit.units.contract import CLEAN_END, RELEASE, SERVE, at_most, logged, seen, shell, until, up

NOBODY = pwd.getpwnam("nobody")


def left_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("systemd-dbus", "glib"))]


def fault_of(answer: UnitState | Fault) -> Fault:
    assert isinstance(answer, Fault), answer
    return answer


# --- before a job -------------------------------------------------------------------------------------


async def test_a_masked_unit(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    (UNIT_FILES / "app.service").unlink()
    systemctl("mask", "--runtime", "app.service")
    try:
        assert up(await bench.units.inspect("app.service")).load_state == "masked"
        for verb in (bench.units.start, bench.units.restart, bench.units.reload):
            fault = fault_of(await verb("app.service"))
            assert (fault.code, fault.message) == (ErrorCode.UNIT_MASKED, "app.service is masked")
            assert "systemctl unmask app.service" in fault.hint
    finally:
        systemctl("unmask", "--runtime", "app.service")


async def test_a_unit_that_was_masked_while_it_runs(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    await bench.units.start("app.service")
    (UNIT_FILES / "app.service").unlink()
    systemctl("mask", "--runtime", "app.service")
    try:
        assert fault_of(await bench.units.restart("app.service")).code is ErrorCode.UNIT_MASKED
        assert up(await bench.units.inspect("app.service")).is_running
        assert up(await bench.units.stop("app.service")).active_state == "inactive"
    finally:
        systemctl("unmask", "--runtime", "app.service")


async def test_a_unit_with_a_mistake_in_it(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nType=simple\n")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message.startswith("app.service cannot be loaded: ")
    assert fault.hint == "systemd-analyze verify app.service names the mistake"


@pytest.mark.parametrize("name", ["app", "my app.service", "app@.service"])
async def test_what_is_no_unit_name(bench: SystemdBench, name: str) -> None:
    for answer in (await bench.units.inspect(name), await bench.units.restart(name)):
        fault = fault_of(answer)
        assert fault.code is ErrorCode.UNIT_NOT_FOUND
        assert name in fault.message
        assert fault.hint == "`unit` is a full name, such as myapp.service"


# --- jobs ---------------------------------------------------------------------------------------------


async def test_a_notify_service_that_fails_to_start(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nType=notify\nExecStart=/bin/sh -c 'exit 7'\n")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message in (
        "the restart job of app.service failed; it is failed (result protocol, exit status 7)",
        "the restart job of app.service failed; it is failed (result exit-code, exit status 7)",
    )


async def test_a_service_that_is_not_ready_in_time(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\nTimeoutStartSec=500ms\n")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert "it is failed (result timeout, signal TERM)" in fault.message


async def test_a_condition_that_is_not_met(bench: SystemdBench) -> None:
    bench.write("app.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep 1000\n")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message == "app.service does not run after its restart; it is inactive (dead)"
    assert "Condition" in fault.hint
    # A unit that another one refers to, as an enabled one is, is not forgotten in the moment it ends.
    bench.write("keep.target", "[Unit]\nWants=app.service\n")
    await bench.units.start("keep.target")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message == "app.service was not started: a Condition…= of the unit is not met"


async def test_a_hook_that_ends_well_and_one_that_does_not(bench: SystemdBench) -> None:
    bench.write(
        "migrate@.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo migrating to %i; [ %i = 20260123-143022 ]'\n",
    )
    good, bad = f"migrate@{RELEASE}.service", "migrate@20260101-000000.service"
    state = up(await bench.units.start(good))
    assert (state.active_state, state.result) == ("inactive", "success")
    cursor = await bench.units.log_cursor(bad)
    fault = fault_of(await bench.units.start(bad))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message == f"the start job of {bad} failed; it is failed (result exit-code, exit status 1)"
    assert "migrating to 20260101-000000" in await bench.units.log_tail(bad, cursor)


async def test_a_job_that_somebody_cancels(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n")
    restart = asyncio.create_task(bench.units.restart("app.service"))
    await seen(bench, "app.service", "activating")
    await bench.units.stop("app.service")
    async with asyncio.timeout(5):
        fault = fault_of(await restart)
    assert fault.code is ErrorCode.RESTART_FAILED
    assert "cancelled by another job" in fault.message


async def test_a_reload_that_the_unit_does_not_know(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    await bench.units.start("app.service")
    fault = fault_of(await bench.units.reload("app.service"))
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message.startswith("systemd would not reload app.service: Job type reload is not applicable")
    assert "ExecReload=" in fault.hint


async def test_a_failed_program_before_the_main_one(bench: SystemdBench) -> None:
    bench.write("app.service", "[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep 1000\n")
    fault = fault_of(await bench.units.restart("app.service"))
    assert fault.message == "the restart job of app.service failed; it is failed (result exit-code)"
    fault = await bench.units.await_failure(UnitState(unit="app.service"))
    assert fault.message == "app.service failed before its main process was started (result exit-code)"


@pytest.mark.parametrize(
    ("setting", "status", "hint"),
    [
        ("WorkingDirectory=/nowhere", "200/CHDIR", "WorkingDirectory="),
        ("User=nobody-of-that-name", "217/USER", "User="),
        ("ReadWritePaths=/nowhere", "226/NAMESPACE", "sandbox"),
    ],
)
async def test_a_setting_that_keeps_it_from_running(bench: SystemdBench, setting: str, status: str, hint: str) -> None:
    bench.write("app.service", f"[Service]\nExecStart=/bin/sleep 1000\n{setting}\n")
    fault = await bench.units.await_failure(up(await bench.units.restart("app.service")))
    assert fault.message.startswith(f"app.service exited with status {status} (result exit-code)")
    assert hint in fault.hint


async def test_a_crash_loop_took_the_socket_down_too(bench: SystemdBench, tmp_path: Path) -> None:
    flag = tmp_path / "repaired"
    listen = f"[Socket]\nListenStream={tmp_path}/app.sock\n"
    bench.write("app.socket", listen)
    await bench.define("app.service", *shell(f"[ -e '{flag}' ] || exit 1; exec sleep 1000"))
    assert up(await bench.units.start("app.socket")).active_state == "active"
    # Whatever the crash does to the socket, a connection that nobody takes triggers it until both give up.
    connect = ["/usr/bin/python3", "-c", "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"]
    subprocess.run([*connect, f"{tmp_path}/app.sock"], check=True)
    await seen(bench, "app.socket", "failed")
    flag.touch()
    assert up(await bench.units.restart("app.service")).is_running
    assert up(await bench.units.inspect("app.socket")).active_state == "active"


async def test_a_socket_that_failed_because_somebody_knocks_before_the_first_release(
    bench: SystemdBench, tmp_path: Path
) -> None:
    bench.write("app.socket", f"[Socket]\nListenStream={tmp_path}/app.sock\n")
    bench.write("app.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep 1000\n")
    boot = "/bin/sh -c 'sleep 0.3; systemd-notify --ready; exec sleep 1000'"
    bench.write("app@.service", f"[Service]\nType=notify\nNotifyAccess=all\nSockets=app.socket\nExecStart={boot}\n")
    assert up(await bench.units.start("app.socket")).active_state == "active"
    knock = "import socket, sys\nwhile True:\n    try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
    knock += "    except OSError: pass"
    with subprocess.Popen([sys.executable, "-c", knock, f"{tmp_path}/app.sock"]) as visitor:
        try:
            await seen(bench, "app.socket", "failed")
            instance = f"app@{RELEASE}.service"
            assert up(await bench.units.start(instance)).is_running
            assert up(await bench.units.inspect("app.socket")).active_state == "active"
        finally:
            visitor.kill()
            await bench.units.stop("app.socket")
            await bench.units.stop(instance)


async def test_instances_name_the_release_that_they_run(bench: SystemdBench) -> None:
    bench.write("app@.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    await bench.define("app.service", *SERVE)
    other = "20260124-080000"
    await bench.units.start(f"app@{other}.service")
    try:
        assert await bench.units.running_releases("app.service") == {other}
        assert await bench.units.running_releases(f"app@{RELEASE}.service") == {other}
    finally:
        await bench.units.stop(f"app@{other}.service")


async def test_a_crash_of_a_unit_that_nothing_refers_to(bench: SystemdBench) -> None:
    """systemd forgets it in the moment it ends; that it did is told all the same."""
    await bench.define("app.service", *shell("sleep 0.2; exit 0"))
    state = up(await bench.units.restart("app.service"))
    with at_most(1):
        fault = await bench.units.await_failure(state)
    assert re.fullmatch(CLEAN_END, fault.message)


async def test_a_restart_by_somebody_else_is_no_failure(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    watch = asyncio.create_task(bench.units.await_failure(up(await bench.units.restart("app.service"))))
    for _ in range(20):
        await asyncio.to_thread(systemctl, "reset-failed", "app.service")
        await asyncio.to_thread(systemctl, "restart", "app.service")
    assert not watch.done()
    watch.cancel()
    await asyncio.wait([watch])


# --- permissions --------------------------------------------------------------------------------------

AS_NOBODY = """
import asyncio, json, sys
from dataclasses import asdict
from dropdeploy.units.systemd import SystemdUnits

async def main(verb, unit):
    async with SystemdUnits("system") as units:
        if verb == "log_tail":
            return await units.log_tail(unit, "")
        return asdict(await getattr(units, verb)(unit))

print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
"""


def as_nobody(verb: str, unit: str) -> object:
    done = subprocess.run(
        [sys.executable, "-B", "-c", AS_NOBODY, verb, unit],
        check=True,
        stdout=subprocess.PIPE,
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=[],
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("verb", ["start", "restart", "reload", "stop"])
async def test_without_a_polkit_rule_nothing_is_allowed(bench: SystemdBench, verb: str) -> None:
    await bench.define("app.service", *SERVE)
    if verb in ("reload", "stop"):
        await bench.units.start("app.service")
    fault = await asyncio.to_thread(as_nobody, verb, "app.service")
    assert isinstance(fault, dict)
    assert fault["code"] == "not-authorised"
    assert fault["message"].startswith("the agent (user nobody) may not ")
    assert "app.service" in fault["message"]
    for part in ("org.freedesktop.systemd1.manage-units", '"nobody"', '"app.service"', verb.replace("restart", "re")):
        assert part in fault["hint"]


@pytest.fixture
def rule_without_reset() -> Iterator[None]:
    """nobody may start and restart, and no more."""
    rule = Path("/etc/polkit-1/rules.d/10-test.rules")
    rule.parent.mkdir(parents=True, exist_ok=True)
    rule.write_text(
        """polkit.addRule(function(action, subject) {
            if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "nobody" &&
                action.lookup("unit") == "app.service" && /^(re)?start$/.test(action.lookup("verb")))
                return polkit.Result.YES;
        });"""
    )
    systemctl("restart", "polkit.service")
    yield
    rule.unlink()
    systemctl("restart", "polkit.service")


@pytest.mark.usefixtures("rule_without_reset")
async def test_each_verb_is_allowed_by_itself(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    state = await asyncio.to_thread(as_nobody, "start", "app.service")
    assert isinstance(state, dict)
    assert state["active_state"] == "active", "a unit that is not loaded has no start limit to reset"
    fault = await asyncio.to_thread(as_nobody, "restart", "app.service")
    assert isinstance(fault, dict)
    assert fault["message"].startswith("the agent (user nobody) may not reset the start limit of app.service")
    assert 'verb "reset-failed"' in fault["hint"]


async def test_looking_needs_no_permission(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    await bench.units.start("app.service")
    state = await asyncio.to_thread(as_nobody, "inspect", "app.service")
    assert isinstance(state, dict)
    assert state["active_state"] == "active"


async def test_a_journal_that_may_not_be_read(bench: SystemdBench) -> None:
    await bench.define("app.service", *SERVE)
    await bench.units.start("app.service")
    assert await asyncio.to_thread(as_nobody, "log_tail", "app.service") == (
        "[the journal of app.service may not be read by the agent: add its user to the group systemd-journal]"
    )


# --- the bus ------------------------------------------------------------------------------------------


@pytest.fixture
def bus_is_abused() -> Iterator[None]:
    """Others do not survive it so well."""
    yield
    systemctl("try-restart", "systemd-logind.service", "polkit.service")


@pytest.mark.usefixtures("bus_is_abused")
@pytest.mark.parametrize("way", [("systemctl", "restart", "dbus.service"), ("pkill", "-KILL", "-x", "dbus-daemon")])
async def test_a_bus_that_goes_away_and_comes_back(bench: SystemdBench, way: tuple[str, ...]) -> None:
    await bench.define("slow.service", *shell("trap 'sleep 1; exit' TERM; echo ready; while :; do sleep 0.02; done"))
    await bench.define("app.service", *SERVE)
    cursor = await bench.units.log_cursor("slow.service")
    before = up(await bench.units.restart("slow.service"))
    await logged(bench, "slow.service", cursor, "ready")
    watch = asyncio.create_task(bench.units.await_failure(up(await bench.units.restart("app.service"))))
    restart = asyncio.create_task(bench.units.restart("slow.service"))
    await seen(bench, "slow.service", "deactivating")
    await asyncio.to_thread(run, *way)
    async with asyncio.timeout(30):
        after = up(await restart)
    assert after.is_running
    assert after.invocation_id != before.invocation_id
    assert not watch.done()
    await asyncio.to_thread(systemctl, "kill", "--signal=KILL", "--kill-whom=main", "app.service")
    await asyncio.to_thread(systemctl, "stop", "app.service")
    with at_most(1):
        assert (await watch).code is ErrorCode.UNIT_CRASHED


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
async def test_systemd_reloads_in_the_middle_of_a_job(bench: SystemdBench, verb: str) -> None:
    await bench.define("slow.service", *shell("trap 'sleep 0.7; exit' TERM; echo ready; while :; do sleep 0.02; done"))
    cursor = await bench.units.log_cursor("slow.service")
    before = up(await bench.units.restart("slow.service"))
    await logged(bench, "slow.service", cursor, "ready")
    restart = asyncio.create_task(bench.units.restart("slow.service"))
    await seen(bench, "slow.service", "deactivating")
    await asyncio.to_thread(systemctl, verb)
    async with asyncio.timeout(20):
        after = up(await restart)
    assert after.invocation_id != before.invocation_id


async def test_there_is_no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(BusAwayError, match="systemd does not answer on the bus"):
        await SystemdUnits("system").open()
    assert not left_threads()


async def test_closing_leaves_no_thread_and_no_descriptor() -> None:
    async with SystemdUnits("system"):
        pass
    descriptors = len(os.listdir("/proc/self/fd"))
    async with SystemdUnits("system") as units:
        await asyncio.gather(*(units.inspect("dbus.service") for _ in range(20)))
        assert left_threads()
    assert not left_threads()
    await until(lambda: asyncio.sleep(0, len(os.listdir("/proc/self/fd")) == descriptors))


async def test_instances_stand_beside_the_unit(bench: SystemdBench) -> None:
    other = "20260124-080000"
    bench.write("app@.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    await bench.define("app.service", *SERVE)
    await bench.units.start("app.service")
    for instance in (other, "blue"):
        await bench.units.start(f"app@{instance}.service")
    try:
        standing = await bench.units.standing("app.service")
        assert not isinstance(standing, Fault)
        assert [state.unit for state in standing] == ["app.service", f"app@{other}.service"]
    finally:
        for instance in (other, "blue"):
            await bench.units.stop(f"app@{instance}.service")


async def test_what_a_handover_lacks_is_told_all_at_once(bench: SystemdBench) -> None:
    fit = "Type=notify\nNonBlocking=yes\nSockets=app.socket\nExecStart=/bin/sleep 1000\n"
    bench.write("app.socket", "[Socket]\nListenStream=/run/app-of-a-test.sock\n")
    bench.write("app.service", f"[Service]\nWorkingDirectory={bench.directory}\n{fit}")
    bench.write("app@.service", f"[Service]\nWorkingDirectory=/srv/releases/%i\n{fit}")
    assert await bench.units.unmet_for_handover("app.service") == ()
    bench.write("app@.service", "[Service]\nSockets=app.socket\nExecStart=/bin/sleep 1000\n")
    settings = [fault.message.split(" in ")[0] for fault in await bench.units.unmet_for_handover("app.service")]
    assert [setting.removeprefix("a handover needs ") for setting in settings] == [
        "NonBlocking=yes",
        "Type=notify",
        "WorkingDirectory=…/releases/%i",
    ]
