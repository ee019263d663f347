"""The health check against real servers, each with a misbehaviour that has a name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
from aiohttp import web

from dropdeploy.health import HttpHealth, _growing_pauses
from dropdeploy.model.app import HealthCheck
from dropdeploy.model.outcome import HealthReport

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def yes() -> bool:
    return True


async def check(url: str, is_same_run: Callable[[], Awaitable[bool]] = yes, **options: object) -> HealthReport:
    """Short spans, unless told otherwise."""
    spans = {"interval_s": 0.1, "timeout_s": 0.6, "attempt_timeout_s": 0.3} | options
    return await HttpHealth().check(HealthCheck(url, **spans), is_same_run=is_same_run)  # type: ignore[arg-type]


class Server:
    """A raw server; ``behaviours`` are those of the first, second, … connection, the last one goes on for ever."""

    def __init__(
        self,
        *behaviours: Behaviour,
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
        reads_requests: bool = True,
    ) -> None:
        self._behaviours = behaviours
        self._reads_requests = reads_requests
        self._path = path
        self._tls = tls
        self._busy: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        self.arrived_s: list[float] = []
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self.arrived_s.append(time.monotonic())
        behaviour = self._behaviours[min(len(self.arrived_s), len(self._behaviours)) - 1]
        # Cancelled means that the test is over.
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                if self._reads_requests:
                    self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await behaviour(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()
        self._busy.discard(task)

    async def __aenter__(self) -> Server:
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            self.url = f"unix:{self._path}:/health"
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
            port = self._server.sockets[0].getsockname()[1]
            self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/health"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for _ in range(5):  # a connection that was accepted just now is served some turns of the loop later
            await asyncio.sleep(0)
            for task in self._busy:
                task.cancel()
        await asyncio.gather(*self._busy)


def answers(status: int, *headers: str, body: bytes = b"ok") -> Behaviour:
    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", "")
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return behave


async def hangs(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def closes_at_once(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def talks_garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n")
    await writer.drain()


async def drips_its_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drips_its_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Drip: drop\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def promises_a_body_and_closes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
    await writer.drain()


class Flood:
    """A body of 10 GB, as far as anybody takes it."""

    taken = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        chunk = bytes(65536)
        while True:
            writer.write(chunk)
            await writer.drain()
            self.taken += len(chunk)


class KeepsAlive:
    """Answers everything on one connection, as long as it is used."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- healthy -------------------------------------------------------------------------------------------


async def test_a_healthy_app_is_healthy_at_the_first_attempt() -> None:
    async with Server(answers(200)) as server:
        report = await check(server.url, interval_s=5, timeout_s=120)
    assert (report.healthy, report.attempts, report.last_status) == (True, 1, 200)
    assert report.seconds < 1
    assert re.fullmatch(rf"{server.url} answered 200 after 0(\.\d+)? s \(1 attempt\)", report.detail)


async def test_a_real_web_server_is_asked_as_a_client_would() -> None:
    seen: list[web.Request] = []

    async def health(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_get("/api/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        report = await check(f"http://127.0.0.1:{port}/api/health?deep=1", host="www.example.com")
    finally:
        await runner.cleanup()
    assert report.healthy
    assert seen[0].headers.getall("Host") == ["www.example.com"]
    assert seen[0].headers["User-Agent"].startswith("dropdeploy/")
    assert seen[0].query_string == "deep=1"


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with Server(answers(200), path=tmp_path / "app.sock") as server:
        report = await check(server.url)
        assert report.healthy
        await check(server.url, host="www.example.com:80")
    assert server.requests[0].startswith(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    assert b"Host: www.example.com:80\r\n" in server.requests[1]


async def test_500_then_200() -> None:
    async with Server(answers(500), answers(503), answers(200)) as server:
        report = await check(server.url, timeout_s=10)
    assert (report.healthy, report.attempts, report.last_status) == (True, 3, 200)


async def test_an_app_that_boots_is_seen_soon_after_it_listens(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    asking = asyncio.create_task(check(f"unix:{path}:/", timeout_s=60))
    await asyncio.wait({asking}, timeout=0.3)
    async with Server(answers(200), path=path):
        listening = time.monotonic()
        report = await asking
        assert report.healthy
        assert time.monotonic() - listening < 0.2


async def test_other_statuses_can_be_accepted() -> None:
    async with Server(answers(204, body=b"")) as server:
        assert (await check(server.url, status=(200, 204))).healthy


@pytest.mark.parametrize("body", [drips_its_body, promises_a_body_and_closes])
async def test_the_status_line_decides(body: Behaviour) -> None:
    async with Server(body) as server:
        report = await check(server.url, timeout_s=5)
    assert (report.healthy, report.attempts) == (True, 1)
    assert report.seconds < 1


async def test_a_huge_body_is_not_taken() -> None:
    flood = Flood()
    async with Server(flood) as server:
        report = await check(server.url)
        assert report.healthy
        assert report.seconds < 1
    assert flood.taken < 20_000_000, "what fits into socket buffers at most"


async def test_successes_in_a_row() -> None:
    async with Server(answers(200), answers(500), answers(200), answers(200), answers(200), answers(500)) as server:
        report = await check(server.url, successes=3, timeout_s=10)
    assert (report.healthy, report.attempts) == (True, 5)


async def test_pauses_begin_small_and_grow_up_to_the_interval() -> None:
    async with Server(*[answers(500)] * 4, answers(200)) as server:
        await check(server.url, interval_s=0.06, timeout_s=60)
    pauses = [later - earlier for earlier, later in pairwise(server.arrived_s)]
    for pause, least in zip(pauses, (0.05, 0.055, 0.06, 0.06), strict=True):
        assert least - 0.005 <= pause < least + 0.2, pauses


def test_an_app_that_took_long_is_not_seen_late() -> None:
    pauses = list(islice(_growing_pauses(5.0), 80))
    waited_s = 0.0
    for pause in pauses:
        assert pause <= 0.051 + waited_s / 10
        waited_s += pause
    assert (pauses[0], pauses[-1]) == (0.05, 5.0)


async def test_connections_are_not_used_twice() -> None:
    """A connection to the old process stays with it: what it answers says nothing of the new one."""
    async with Server(KeepsAlive()) as server:
        report = await check(server.url)
    assert report.attempts > 2
    assert report.attempts - len(server.arrived_s) in (0, 1)
    assert all(b"Connection: close\r\n" in request for request in server.requests)


async def test_the_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with Server(answers(200)) as server:
        assert (await check(server.url)).healthy


# --- not healthy ---------------------------------------------------------------------------------------


async def sick(server: Server, **options: object) -> str:
    """The detail of a report that must say "not healthy", with varying numbers made equal."""
    report = await check(server.url, **options)  # type: ignore[arg-type]
    assert not report.healthy
    # The end of the whole may come before the last attempt has reached the server.
    assert report.attempts - len(server.arrived_s) in (0, 1)
    return re.sub(r"\d+ attempts", "N attempts", report.detail.removeprefix(server.url + " "))


async def test_a_status_that_is_not_accepted() -> None:
    async with Server(answers(500)) as server:
        report = await check(server.url)
    assert (report.healthy, report.last_status) == (False, 500)
    assert re.fullmatch(rf"{server.url} answered 500 for \d\.\d s \({report.attempts} attempts\)", report.detail)
    assert 0.45 < report.seconds < 2


async def test_refused(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/"
    report = await check(url)
    assert (report.healthy, report.last_status) == (False, None)
    assert report.detail.startswith(f"{url} refused the connection for ")


async def test_localhost_refused_on_both_its_addresses(free_port: int) -> None:
    report = await check(f"http://localhost:{free_port}/", timeout_s=1.0)
    assert " refused the connection for " in report.detail


async def test_hangs() -> None:
    async with Server(hangs) as server:
        detail = await sick(server, timeout_s=1.0, attempt_timeout_s=0.2)
    assert re.fullmatch(r"did not answer within 0\.2 s, for \d(\.\d)? s \(N attempts\)", detail)


async def test_drips_its_head() -> None:
    async with Server(drips_its_head) as server:
        assert (await sick(server, attempt_timeout_s=0.2)).startswith("did not answer within 0.2 s, for ")


async def test_no_attempt_goes_beyond_the_whole() -> None:
    async with Server(hangs) as server:
        began = time.monotonic()
        detail = await sick(server, timeout_s=0.4, attempt_timeout_s=60)
        assert time.monotonic() - began < 1
    assert re.fullmatch(r"did not answer within 0\.4 s \(1 attempt\)", detail)


@pytest.mark.parametrize("behaviour", [closes_at_once, resets])
async def test_a_dropped_request_is_one_failed_attempt(behaviour: Behaviour) -> None:
    async with Server(behaviour) as server:
        assert (await sick(server)).startswith("closed the connection without an answer for ")


async def test_garbage() -> None:
    async with Server(talks_garbage) as server:
        assert (await sick(server)).startswith("did not answer in HTTP for ")


async def test_a_redirect_is_a_status_like_any_other() -> None:
    async with Server(answers(302, "Location: /health")) as server:
        assert (await sick(server)).startswith("answered 302 (a redirect to /health) for ")


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    report = await check(f"unix:{tmp_path}/app.sock:/", timeout_s=1.0)
    assert report.detail.startswith(f"unix:{tmp_path}/app.sock:/ had no socket for ")


async def test_a_unix_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "app.sock"))
        report = await check(f"unix:{tmp_path}/app.sock:/", timeout_s=1.0)
    assert " refused the connection for " in report.detail


async def test_a_host_that_no_name_can_be() -> None:
    report = await check(f"http://{'a' * 70}.invalid/", timeout_s=1.0)
    assert not report.healthy
    assert report.detail


async def test_a_text_that_is_no_url() -> None:
    assert (await check("localhost:80")).detail == "localhost:80 is no URL that can be asked"


async def test_what_changed_last_is_told_with_its_own_time() -> None:
    async with Server(closes_at_once, closes_at_once, answers(503)) as server:
        assert re.fullmatch(
            r"answered 503 for the last [\d.]+ s of [\d.]+ s \(N attempts\)", await sick(server, timeout_s=0.8)
        )


@pytest.mark.parametrize("behaviours", [[answers(200), answers(500)] * 50, [answers(200), answers(500)]])
async def test_flapping(behaviours: list[Behaviour]) -> None:
    async with Server(*behaviours) as server:
        assert re.fullmatch(
            r"never answered well 2 times in a row within [\d.]+ s \(N attempts\), last it answered \d00",
            await sick(server, successes=2),
        )


async def test_the_end_of_the_time_does_not_hide_what_was_seen() -> None:
    """The last attempt has less than its own time: that it brought nothing says nothing."""
    async with Server(answers(500), hangs) as server:
        report = await check(server.url, timeout_s=0.5, attempt_timeout_s=5)
    assert report.detail.startswith(f"{server.url} answered 500 for ")


# --- the soak ------------------------------------------------------------------------------------------


async def test_healthy_through_the_soak() -> None:
    async with Server(answers(500), answers(200)) as server:
        report = await check(server.url, soak_s=0.4)
    assert report.healthy
    assert report.attempts >= 5
    assert report.seconds >= 0.4
    assert report.detail.endswith(" and through 0.4 s of soak")


async def test_ill_in_the_soak() -> None:
    async with Server(answers(200), answers(200), answers(200), answers(500)) as server:
        report = await check(server.url, soak_s=60)
    assert (report.healthy, report.attempts, report.last_status) == (False, 4, 500)
    assert re.fullmatch(rf"{server.url} answered 200 and then 500 after [\d.]+ s of soak", report.detail)


async def test_dropped_in_the_soak() -> None:
    async with Server(answers(200), answers(200), closes_at_once) as server:
        report = await check(server.url, soak_s=60)
    assert not report.healthy
    assert " answered 200 and then closed the connection without an answer after " in report.detail


async def test_the_last_attempt_of_the_soak_is_at_its_end() -> None:
    async with Server(answers(200)) as server:
        report = await check(server.url, soak_s=0.3, interval_s=60)
        assert report.seconds >= 0.3
        assert server.arrived_s[-1] - server.arrived_s[0] >= 0.29


async def test_the_soak_is_not_bounded_by_the_timeout() -> None:
    async with Server(answers(200)) as server:
        assert (await check(server.url, soak_s=0.5, timeout_s=0.2)).healthy


# --- whose answer it is --------------------------------------------------------------------------------


async def test_an_answer_of_another_run_does_not_count() -> None:
    runs = iter([False, False, True])

    async def is_same_run() -> bool:
        return next(runs)

    async with Server(answers(200)) as server:
        report = await check(server.url, is_same_run)
    assert (report.healthy, report.attempts) == (True, 3)


async def test_answers_of_another_run_only() -> None:
    async def no() -> bool:
        return False

    async with Server(answers(200)) as server:
        report = await check(server.url, no)
    assert not report.healthy
    assert report.detail.startswith(f"{server.url} answered 200 from another run of the unit for ")


async def test_another_run_within_the_soak() -> None:
    runs = iter([True, True, False])

    async def is_same_run() -> bool:
        return next(runs)

    async with Server(answers(200)) as server:
        report = await check(server.url, is_same_run, soak_s=60)
    assert not report.healthy
    assert " answered 200 and then 200 from another run of the unit after " in report.detail


async def test_failures_are_not_asked_for_their_run() -> None:
    async def never() -> bool:
        raise AssertionError

    async with Server(answers(500)) as server:
        assert not (await check(server.url, never, timeout_s=0.2)).healthy


# --- being cancelled -----------------------------------------------------------------------------------


def open_sockets() -> int:
    descriptors = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd.isdigit())
    return sum(target.startswith("socket:") for target in _existing(descriptors))


def _existing(links: Iterator[str]) -> Iterator[str]:
    while True:
        try:
            yield next(links)
        except StopIteration:
            return
        except FileNotFoundError:
            return


@pytest.mark.parametrize("behaviour", [hangs, drips_its_head, answers(500), answers(200)])
async def test_cancelled_at_any_moment_it_leaves_nothing(behaviour: Behaviour) -> None:
    before = open_sockets()
    async with Server(behaviour) as server:
        for delay_s in (0, 0.001, 0.01, 0.07):
            asking = asyncio.create_task(check(server.url, timeout_s=60, attempt_timeout_s=60, soak_s=60))
            await asyncio.wait({asking}, timeout=delay_s)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
    for _ in range(200):
        if open_sockets() <= before:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{open_sockets()} sockets are open, {before} were")


# --- https ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate() -> Path:
    """Signed by itself, for 127.0.0.1, with its key; for these tests only, until 2126."""
    return Path(__file__).with_name("self-signed.pem")


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    async with Server(answers(200), tls=serving(certificate)) as server:
        report = await check(server.url, timeout_s=2.0)
    assert report.detail.startswith(f"{server.url} had a certificate that is not trusted (self")


async def test_https_of_a_server_that_speaks_none() -> None:
    async with Server(talks_garbage, reads_requests=False) as server:
        report = await check(server.url.replace("http:", "https:"), timeout_s=2.0)
    assert not report.healthy
    assert " did not answer in TLS (" in report.detail


async def test_a_certificate_that_is_trusted(certificate: Path) -> None:
    """aiohttp reads the trusted certificates when it is imported, so the check runs in a process of its own."""
    program = textwrap.dedent("""
        import asyncio, sys
        from dropdeploy.health import HttpHealth
        from dropdeploy.model.app import HealthCheck

        async def yes():
            return True

        report = asyncio.run(HttpHealth().check(HealthCheck(sys.argv[1], timeout_s=5), is_same_run=yes))
        sys.exit(0 if report.healthy else report.detail)
    """)
    environment = os.environ | {"SSL_CERT_FILE": str(certificate), "PYTHONPATH": os.pathsep.join(sys.path)}
    async with Server(answers(200), tls=serving(certificate)) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, server.url, env=environment, stderr=subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
