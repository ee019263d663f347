"""The courier against real receivers, each ill in its own way, and a real history."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dropdeploy.history.keeping import History
from dropdeploy.history.thread import HistoryThread
from dropdeploy.model.app import App, Notify
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action, Answer, Format, Upload, Version
from dropdeploy.model.unit import UnitState
from dropdeploy.report import courier as courier_module
from dropdeploy.report.courier import Courier, post
from dropdeploy.report.notice import channels_for
from tests.unit.report.receiver import Receiver

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
UPLOAD = Upload("b.zip", Format.ZIP, Version(1, 2, 3, 4, 5))


def outcome(number: int, app: str = "shop", status: Status = Status.DEPLOYED) -> Outcome:
    return Outcome(status, "told", app, Action.DEPLOY, number, NOW, NOW, upload=UPLOAD.name)


class Post:
    """An agent's worth of parts: apps, their history, and a courier that can be stopped and started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.apps: dict[str, App] = {}
        self.units: list[str] = []
        self.unit_faults: list[Fault] = []
        self.history = HistoryThread(History(path))
        self.task: asyncio.Task[None] | None = None

    def add(self, name: str = "shop", notify: Notify | None = None) -> None:
        self.apps[name] = App(name, Path("/home"), Path("/drop"), f"{name}.service", notify=notify or Notify())

    async def conclude(self, app: str = "shop", status: Status = Status.DEPLOYED) -> int:
        """As a lane does."""

        def conclude(history: History) -> int:
            number = history.begin(app, Action.DEPLOY, UPLOAD, NOW)
            channels = channels_for(self.apps[app].notify, status)
            history.conclude(outcome(number, app, status), Answer(UPLOAD), {}, channels)
            return number

        number = await self.history.ask(conclude)
        if self.task is not None:
            self.courier.wake()
        return number

    def start(self, first_pause_s: float = 0.01) -> None:
        self.courier = Courier(self.history, self.apps.get, self._start_unit, first_pause_s=first_pause_s)
        self.task = asyncio.create_task(self.courier.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def emptied(self) -> None:
        """Until nothing is to be told any more."""
        async with asyncio.timeout(20):
            while await self.history.ask(History.pending):
                await asyncio.sleep(0.005)

    async def _start_unit(self, unit: str) -> UnitState | Fault:
        self.units.append(unit)
        return self.unit_faults.pop(0) if self.unit_faults else UnitState(unit)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Post]:
    opened = Post(tmp_path / "history.db")
    yield opened
    await opened.stop()
    await opened.history.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, "dropdeploy")
    yield caplog
    assert "T0K3N" not in caplog.text


async def test_verdicts_arrive_in_order_one_at_a_time(office: Post, log: pytest.LogCaptureFixture) -> None:
    async with Receiver() as receiver:
        office.add(notify=Notify(receiver.url))
        office.start()
        numbers = [await office.conclude() for _ in range(5)]
        await office.emptied()
    assert [json.loads(request.body)["id"] for request in receiver.requests] == numbers
    assert receiver.open_at_most == 1
    request = receiver.requests[0]
    assert request.line == "POST /hook/T0K3N HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("dropdeploy/")
    assert "x-dropdeploy-signature" not in request.headers
    assert log.text == ""


async def test_only_on_the_chosen_statuses(office: Post) -> None:
    async with Receiver() as receiver:
        office.add(notify=Notify(receiver.url, on=(Status.FAILED,)))
        office.start()
        await office.conclude()
        failed = await office.conclude(status=Status.FAILED)
        await office.emptied()
    assert [json.loads(request.body)["id"] for request in receiver.requests] == [failed]


async def test_signed_with_the_secret_of_the_moment(
    office: Post, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    async with Receiver() as receiver:
        office.add(notify=Notify(receiver.url, secret_file=secret))
        office.start()
        await office.conclude()
        async with asyncio.timeout(20):
            while "No such file" not in log.text:
                await asyncio.sleep(0.005)
        assert receiver.requests == []  # never unsigned
        secret.write_text("first\n")
        await office.emptied()
    (request,) = receiver.requests
    digest = hmac.new(b"first", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-dropdeploy-signature"] == f"sha256={digest}"


async def test_a_receiver_that_comes_to_its_senses(office: Post, log: pytest.LogCaptureFixture) -> None:
    async with Receiver("500 Oops", "drop", "429 Slow\r\nRetry-After: 0", "200 OK") as receiver:
        office.add(notify=Notify(receiver.url))
        office.start()
        await office.conclude()
        await office.conclude()
        await office.emptied()
        assert [json.loads(request.body)["id"] for request in receiver.requests] == [1, 1, 1, 1, 2]
    assert [record.getMessage() for record in log.records] == [
        "shop: the result of deploy 1 is not sent yet: the webhook at 127.0.0.1 answered 500; it is tried again",
        "shop: the result of deploy 1 is sent now",
    ]
    assert {record.__dict__["DROPDEPLOY_CHANNEL"] for record in log.records} == {"webhook"}


async def test_one_that_hangs_holds_up_nobody_else(office: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "AT_ONCE", 2)
    async with Receiver("hang") as hanging, Receiver() as well:
        office.add("a-hangs", Notify(hanging.url))
        office.add("well", Notify(well.url))
        office.start()
        await office.conclude("a-hangs")
        await hanging.wait_for(1)
        await office.conclude("well")
        await office.conclude("well")
        await well.wait_for(2)
        async with asyncio.timeout(20):
            while len(await office.history.ask(History.pending)) > 1:
                await asyncio.sleep(0.005)
        await office.stop()  # with a request under way
    assert [(each.app, each.tries) for each in await office.history.ask(History.pending)] == [("a-hangs", 0)]


async def test_time_is_bounded_and_redirects_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    async with Receiver("hang") as hanging:
        failure = await post(Notify(hanging.url), outcome(1), 0.1)
        assert failure is not None
        assert failure.did == "did not answer within 0.1 s"
    async with Receiver() as elsewhere, Receiver(f"307 Go\r\nLocation: {elsewhere.url}") as redirecting:
        failure = await post(Notify(redirecting.url, secret_file=secret), outcome(1))
        assert failure is not None
        assert failure.did == "answered 307, and redirects are not followed: name the place itself"
        assert elsewhere.requests == []
    failure = await post(Notify(redirecting.url), outcome(1))  # gone by now
    assert failure is not None
    assert failure.did == "refused the connection"


@pytest.mark.parametrize(
    ("written", "meant"), [(":tk_secret", ":tk_secret"), ("ada:p%40ss:word", "ada:p@ss:word"), ("ada", "ada:")]
)
async def test_credentials_of_the_address_become_a_header(written: str, meant: str) -> None:
    async with Receiver() as receiver:
        assert await post(Notify(receiver.url.replace("//", f"//{written}@")), outcome(1)) is None
    (request,) = receiver.requests
    assert request.headers["authorization"] == f"Basic {base64.b64encode(meant.encode()).decode()}"


async def test_it_goes_on_after_a_restart(office: Post) -> None:
    async with Receiver("503 Later\r\nRetry-After: 3000") as receiver:
        office.add(notify=Notify(receiver.url))
        office.start()
        number = await office.conclude()
        await receiver.wait_for(1)
        async with asyncio.timeout(20):
            while (await office.history.ask(History.pending))[0].tries != 1:
                await asyncio.sleep(0.005)
        await office.stop()
    async with Receiver() as receiver:
        office.add(notify=Notify(receiver.url))  # and may go elsewhere then
        office.start()
        await office.emptied()
    assert [json.loads(request.body)["id"] for request in receiver.requests] == [number]


@pytest.mark.parametrize(("reply", "tries"), [("413 Too large", 1), ("500 Oops", 4)])
async def test_what_is_refused_for_good_or_for_too_long_makes_room(
    office: Post, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, reply: str, tries: int
) -> None:
    monkeypatch.setattr(courier_module, "LONGEST_PAUSE_S", 0.001)
    monkeypatch.setattr(courier_module, "MOST_TRIES", 4)
    async with Receiver(*[reply] * tries, "200 OK") as receiver:
        office.add(notify=Notify(receiver.url))
        office.start(0.001)
        await office.conclude()
        await office.conclude()
        await office.emptied()
        assert [json.loads(request.body)["id"] for request in receiver.requests] == [1] * tries + [2]
    status = reply.split(maxsplit=1)[0]
    told = (
        f"shop: the result of deploy 1 was not sent: the webhook at 127.0.0.1 answered {status}: it is not tried again"
    )
    assert told in log.text


async def test_whoever_is_not_to_be_told_any_more_is_not(office: Post) -> None:
    async with Receiver() as receiver:
        office.add(notify=Notify(receiver.url))
        office.add("gone", Notify(receiver.url))
        await office.conclude()
        await office.conclude("gone")
        office.add()
        del office.apps["gone"]
        office.start()
        await office.emptied()
        assert receiver.requests == []


async def test_mail_is_a_unit(office: Post, log: pytest.LogCaptureFixture) -> None:
    office.add(notify=Notify(email=("root",)))
    office.unit_faults.append(Fault(ErrorCode.NOT_AUTHORISED, "may not start it", "install the polkit rule"))
    office.start()
    number = await office.conclude()
    await office.emptied()
    assert office.units == [f"dropdeploy-mail@{number}.service"] * 2
    assert "email may not start it (install the polkit rule); it is tried again" in log.text


async def test_a_defect_is_told_and_does_not_stop_the_others(office: Post, log: pytest.LogCaptureFixture) -> None:
    async with Receiver() as receiver:
        office.add("odd", Notify("https://x", format="no such format"))
        office.add("well", Notify(receiver.url))
        office.start()
        await office.conclude("odd")
        await office.conclude("well")
        await receiver.wait_for(1)
        async with asyncio.timeout(20):
            while "telling deploy 1 failed" not in log.text:
                await asyncio.sleep(0.005)


async def test_a_webhook_may_become_another(office: Post) -> None:
    async with Receiver("404 Not Found") as wrong, Receiver() as right:
        office.add(notify=Notify(wrong.url))
        office.start()
        await office.conclude()
        await wrong.wait_for(1)
        office.apps["shop"] = replace(office.apps["shop"], notify=Notify(right.url))
        await office.emptied()
        assert len(right.requests) == 1
