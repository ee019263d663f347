"""The embedded supervisor: the contract, and what only it does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from dropdeploy.model.app import EmbeddedUnit
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState
from dropdeploy.units.embedded import EmbeddedUnits
from dropdeploy.units.procfs import is_group_alive
from tests.unit.units.contract import RELEASE, SERVE, UnitsContract, logged, seen, shell, until, up


class EmbeddedBench:
    def __init__(self, units: EmbeddedUnits, root: Path) -> None:
        self.units = units
        self.root = root
        self.directory = root / "releases" / RELEASE
        self.directory.mkdir(parents=True)
        (root / "app").symlink_to(f"releases/{RELEASE}")
        self.definitions: dict[str, tuple[EmbeddedUnit, Path]] = {}

    async def define(self, unit: str, *command: str) -> None:
        await self.embed(unit, EmbeddedUnit(command))

    async def embed(self, unit: str, definition: EmbeddedUnit) -> None:
        self.definitions[unit] = definition, self.root / "app"
        await self.units.redefine(self.definitions)

    async def subscriptions(self) -> int:
        return sum(len(service._watchers) for service in self.units._services.values())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[EmbeddedBench]:
    async with EmbeddedUnits({}, stop_s=0.5) as units:
        yield EmbeddedBench(units, tmp_path)


class TestContract(UnitsContract):
    pass


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


# Answers each connection with its process id, on the socket that it was given.
ANSWER = """
import os, socket, sys
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
listener = socket.socket(fileno=3)
assert listener.getblocking()
while True:
    with listener.accept()[0] as connection:
        connection.sendall(b"%d %s" % (os.getpid(), os.environ["LISTEN_FDNAMES"].encode()))
"""
ANSWERING = (sys.executable, "-S", "-c", ANSWER)


def is_running(pid: str) -> bool:
    """Zombies that wait for a slow parent are not ours to judge."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ask(address: tuple[str, int] | str) -> str:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(5)
        connection.connect(address)
        return connection.makefile().read()


async def test_the_socket_is_passed_as_descriptor_3(bench: EmbeddedBench, port: int) -> None:
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, f"127.0.0.1:{port}"))
    state = up(await bench.units.start("app.service"))
    assert await asyncio.to_thread(ask, ("127.0.0.1", port)) == f"{state.main_pid} app.socket"


async def test_it_listens_on_ipv6_and_unix_sockets(bench: EmbeddedBench, port: int, tmp_path: Path) -> None:
    path = tmp_path / "run" / "app.sock"
    await bench.embed("six.service", EmbeddedUnit(ANSWERING, f"[::1]:{port}"))
    await bench.embed("unix.service", EmbeddedUnit(ANSWERING, str(path)))
    six, unix = up(await bench.units.start("six.service")), up(await bench.units.start("unix.service"))
    assert await asyncio.to_thread(ask, ("::1", port)) == f"{six.main_pid} six.socket"
    assert await asyncio.to_thread(ask, str(path)) == f"{unix.main_pid} unix.socket"
    assert path.stat().st_mode & 0o777 == 0o666
    await bench.units.stop("unix.service")
    assert not path.exists()


async def test_a_stale_unix_socket_is_no_obstacle(bench: EmbeddedBench, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(str(path))
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, str(path)))
    state = up(await bench.units.start("app.service"))
    assert (await asyncio.to_thread(ask, str(path))).startswith(str(state.main_pid))


async def test_restarts_refuse_no_connection(bench: EmbeddedBench, port: int) -> None:
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, f"127.0.0.1:{port}"))
    await bench.units.start("app.service")
    answers: list[str] = []
    is_over = False

    def keep_asking() -> None:
        while not is_over:
            # Accepted by the old process and ended by its SIGTERM is another matter than refused.
            with contextlib.suppress(ConnectionResetError):
                answers.append(ask(("127.0.0.1", port)))

    asking = asyncio.create_task(asyncio.to_thread(keep_asking))

    async def has_answered(state: UnitState) -> bool:
        return f"{state.main_pid} app.socket" in answers

    for _ in range(5):
        state = up(await bench.units.restart("app.service"))
        await until(partial(has_answered, state))
    is_over = True
    await asking


@pytest.mark.parametrize("where", ["127.0.0.1:{port}", "{path}/app.sock"])
async def test_an_address_in_use(bench: EmbeddedBench, port: int, tmp_path: Path, where: str) -> None:
    listen = where.format(port=port, path=tmp_path)
    await bench.embed("app.service", EmbeddedUnit(SERVE, ""))
    before = up(await bench.units.start("app.service"))
    family, address = (socket.AF_INET, ("127.0.0.1", port)) if ":" in listen else (socket.AF_UNIX, listen)
    with socket.socket(family) as other:
        other.bind(address)
        other.listen()
        await bench.embed("app.service", EmbeddedUnit(SERVE, listen))
        for verb in (bench.units.restart, bench.units.start):
            fault = await verb("app.service")
            if verb == bench.units.restart:
                assert isinstance(fault, Fault)
                assert fault.code is ErrorCode.RESTART_FAILED
                assert fault.message == f"app.service could not be started: {listen} is in use by another process"
        assert await bench.units.inspect("app.service") == before, "what ran runs on"


async def test_what_stands_in_the_way_of_a_unix_socket_is_not_removed(bench: EmbeddedBench, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("precious")
    await bench.embed("app.service", EmbeddedUnit(SERVE, str(path)))
    fault = await bench.units.start("app.service")
    assert isinstance(fault, Fault)
    assert fault.message == f"app.service could not be started: cannot listen at {path}: exists and is no socket"
    assert path.read_text() == "precious"


async def test_another_address_is_taken_up_by_the_next_restart(bench: EmbeddedBench, port: int, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, f"127.0.0.1:{port}"))
    await bench.units.start("app.service")
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, path))
    assert await asyncio.to_thread(ask, ("127.0.0.1", port))
    state = up(await bench.units.restart("app.service"))
    assert (await asyncio.to_thread(ask, path)).startswith(str(state.main_pid))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(ask, ("127.0.0.1", port))


async def test_the_environment_is_clean(bench: EmbeddedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/agent")
    monkeypatch.setenv("AGENT_SECRET", "x")
    await bench.embed(
        "app.service", EmbeddedUnit(("env",), environment=(("COLOUR", "green"), ("PATH", "/usr/bin:/bin")))
    )
    cursor = await bench.units.log_cursor("app.service")
    state = up(await bench.units.start("app.service"))
    tail = await logged(bench, "app.service", cursor, f"INVOCATION_ID={state.invocation_id}")
    assert "COLOUR=green" in tail
    assert "PATH=/usr/bin:/bin" in tail
    assert not [line for line in tail if line.startswith(("NOTIFY_SOCKET", "AGENT_SECRET", "LISTEN_"))]


async def test_the_link_is_resolved_at_each_start(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *SERVE)
    await bench.units.start("app.service")
    newer = "20260124-080000"
    (bench.root / "releases" / newer).mkdir()
    (bench.root / "next").symlink_to(f"releases/{newer}")
    (bench.root / "next").rename(bench.root / "app")
    assert await bench.units.running_releases("app.service") == {RELEASE}
    await bench.units.restart("app.service")
    assert await bench.units.running_releases("app.service") == {newer}


async def test_a_directory_that_is_gone(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *SERVE)
    bench.directory.rmdir()
    fault = await bench.units.restart("app.service")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message == f"app.service could not be started: No such file or directory: {bench.directory}"


async def test_a_program_that_is_not_executable(bench: EmbeddedBench) -> None:
    (bench.directory / "server").write_text("#!/bin/sh\n")
    await bench.define("app.service", "./server")
    fault = await bench.units.restart("app.service")
    assert isinstance(fault, Fault)
    assert fault.message == (
        f"app.service could not be started: the program ./server is not executable in {bench.directory}"
    )


async def test_what_ignores_sigterm_is_killed_with_all_that_it_forked(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *shell("trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000"))
    cursor = await bench.units.log_cursor("app.service")
    await bench.units.start("app.service")
    line = await until(lambda: bench.units.log_tail("app.service", cursor))
    state = up(await bench.units.stop("app.service"))
    assert state.active_state == "inactive"
    assert not is_running(line)


async def test_what_a_crashed_process_leaves_is_ended_before_the_next_start(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *shell("sleep 1000 & echo $!; exit 1"))
    cursor = await bench.units.log_cursor("app.service")
    await bench.units.start("app.service")
    await seen(bench, "app.service", "failed")
    pids = [line for line in (await bench.units.log_tail("app.service", cursor)).splitlines() if line.isdigit()]
    assert len(pids) == 5
    assert not [pid for pid in pids if is_running(pid)]


async def test_no_zombie_is_left(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *shell("exit 1"))
    await bench.units.start("app.service")
    await seen(bench, "app.service", "failed")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in children]
    assert "Z" not in states


async def test_much_output_does_not_hold_the_loop_up(bench: EmbeddedBench) -> None:
    await bench.define("app.service", "yes", "x" * 100)
    await bench.units.start("app.service")
    loop = asyncio.get_running_loop()
    worst = 0.0
    for _ in range(50):
        start = loop.time()
        await asyncio.sleep(0.005)
        worst = max(worst, loop.time() - start)
    assert worst < 0.1
    assert (await bench.units.log_tail("app.service", "0", 3)).splitlines() == ["x" * 100] * 3


async def test_start_all_starts_what_has_a_release(bench: EmbeddedBench) -> None:
    bench.definitions["bare.service"] = EmbeddedUnit(SERVE), bench.root / "nothing"
    await bench.define("app.service", *SERVE)
    await bench.define("ill.service", "./nope")
    faults = await bench.units.start_all()
    assert list(faults) == ["ill.service"]
    assert up(await bench.units.inspect("app.service")).is_running
    assert not up(await bench.units.inspect("bare.service")).is_running
    await bench.units.stop("app.service")
    await bench.units.start_all()
    assert not up(await bench.units.inspect("app.service")).is_running, "what was stopped stays so"


async def test_start_all_waits_for_what_the_agent_before_left(bench: EmbeddedBench, port: int) -> None:
    await bench.embed("app.service", EmbeddedUnit(ANSWERING, f"127.0.0.1:{port}"))
    with socket.socket() as leftover:
        leftover.bind(("127.0.0.1", port))
        leftover.listen()
        asyncio.get_running_loop().call_later(0.3, leftover.close)
        assert not await bench.units.start_all()
    assert await asyncio.to_thread(ask, ("127.0.0.1", port))


async def test_what_is_not_defined_any_more_is_stopped(bench: EmbeddedBench) -> None:
    await bench.define("app.service", *SERVE)
    state = up(await bench.units.start("app.service"))
    await bench.units.redefine({})
    assert not Path(f"/proc/{state.main_pid}").exists()
    assert up(await bench.units.inspect("app.service")) == UnitState(unit="app.service", load_state="not-found")


async def test_closing_stops_everything(tmp_path: Path) -> None:
    async with EmbeddedUnits({}) as units:
        bench = EmbeddedBench(units, tmp_path)
        await bench.define("app.service", *shell("sleep 1000 & exec sleep 1000"))
        state = up(await units.start("app.service"))
    assert not Path(f"/proc/{state.main_pid}").exists()
    assert not is_group_alive(state.main_pid)


AGENT = """
import asyncio, sys
from functools import partial
from pathlib import Path
from dropdeploy.model.app import EmbeddedUnit
from dropdeploy.units.embedded import EmbeddedUnits

async def main():
    definition = EmbeddedUnit(("/bin/sh", "-c", "sleep 1000 & trap '' TERM; wait; sleep 1000"))
    async with EmbeddedUnits({"app.service": (definition, Path("/"))}) as units:
        print((await units.start("app.service")).main_pid, flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_the_apps_die_with_an_agent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(AGENT)], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        group = int(agent.stdout.readline())
        assert is_group_alive(group)
        agent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_group_alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.02)
