"""The server itself: who may ask, what is sent, and that nobody who listens holds anybody up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dropdeploy.config.address import UnixAddress
from dropdeploy.history.keeping import History
from dropdeploy.model.request import Action, Answer, Marker, Version
from dropdeploy.report.page import stream
from dropdeploy.report.page.bulletin import QUEUE, Bulletin, Event, Subscriber
from dropdeploy.report.page.guard import Guard
from dropdeploy.report.page.places import wants_json
from dropdeploy.report.page.server import PageServer, open_page
from dropdeploy.report.tally import Glance, Tally
from tests.unit.report.page.samples import outcome, progress, seen

TOKEN = "0123456789abcdef"


class Bench:
    """A server on a Unix socket, over a history with three deploys."""

    def __init__(self, path: Path, token: str = "") -> None:
        self.address = UnixAddress(str(path / "page.sock"))
        self.bulletin = Bulletin()
        self.apps = {"myapp": seen(), "x.json": seen("x.json")}
        self.ailments: list[str] = []
        history = History(path / "history.db")
        for number in (1, 2, 3):
            marker = Marker("rollback", Action.ROLLBACK, Version(1, number, 0, 0, 0))
            started = outcome().started
            assert history.begin("myapp", Action.ROLLBACK, marker, started) == number
            history.conclude(outcome(number), Answer(marker), {})
        history.close()
        self.server = PageServer(
            Guard(self.address, token),
            apps=lambda: self.apps,
            ailments=lambda: self.ailments,
            glance=lambda: Glance([each.now for each in self.apps.values()], Tally()),
            bulletin=self.bulletin,
            history=path / "history.db",
            host="server",
        )

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers by name in lower case, body."""
        reader, writer = await self.connect(path, method, Connection="close", **headers)
        try:
            told = (await asyncio.wait_for(reader.read(), 30)).decode()
        finally:
            writer.close()
        head, _, body = told.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in lines}, body

    async def connect(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.address.path, limit=1024)
        lines = {"Host": "localhost", **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode())
        return reader, writer


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.server.start()
    yield bench
    await bench.server.close()


async def test_each_address_is_a_page_and_json(bench: Bench) -> None:
    for path in ("/", "/apps", "/apps/myapp", "/apps/myapp?before=3", "/apps/myapp/deploys/2"):
        status, headers, body = await bench.ask(path)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        assert body.startswith("<!DOCTYPE html>")
        status, headers, body = await bench.ask(path, Accept="application/json")
        assert (status, headers["content-type"]) == (200, "application/json; charset=utf-8"), path
        assert json.loads(body)
    for path in ("/apps.json", "/apps/myapp.json", "/apps/x.json.json", "/apps/myapp/deploys/2.json", "/healthz"):
        assert (await bench.ask(path))[1]["content-type"] == "application/json; charset=utf-8", path
    assert (await bench.ask("/apps/x.json"))[1]["content-type"] == "text/html; charset=utf-8"  # an app's name


async def test_what_is_not_there(bench: Bench) -> None:
    deploys = ("9", "0x1", "99999999999999999999", "")
    missing = ("/x", "/apps/x", "/apps/x.json/deploys/1", "/static/page.py", "/static/../server.py", "/apps/%2e%2e")
    for path in (*missing, *(f"/apps/myapp/deploys/{number}" for number in deploys)):
        status, headers, _ = await bench.ask(path)
        assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8"), path
        assert "default-src 'none'" in headers["content-security-policy"]


async def test_odd_numbers_are_no_mistake(bench: Bench) -> None:
    for path in ("/?page=-1", "/?page=x", "/?page=99999999999999999999", "/apps/myapp?before=x", "/?q=%ff%00<"):
        assert (await bench.ask(path))[0] == 200, path


async def test_files_keep_for_ever_and_come_under_another_name_when_they_change(bench: Bench) -> None:
    _, _, page = await bench.ask("/")
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    status, headers, style = await bench.ask(address)
    assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in headers["cache-control"]
    assert "--ground" in style
    assert "http" not in page.replace('href="http', "")  # nothing from elsewhere


async def test_what_is_going_on_has_its_page(bench: Bench) -> None:
    bench.apps["myapp"] = seen(progress=progress(deploy=4), working="x")
    assert "going on" in (await bench.ask("/apps/myapp/deploys/4"))[2]
    assert json.loads((await bench.ask("/apps/myapp/deploys/4.json"))[2])["step"] == "extract"


async def test_figures_for_prometheus(bench: Bench) -> None:
    status, headers, body = await bench.ask("/metrics", Accept="text/plain")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "dropdeploy_apps 2.0\n" in body
    _, headers, _ = await bench.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")


async def test_the_agents_own_health(bench: Bench) -> None:
    assert (await bench.ask("/healthz"))[0] == 200
    bench.ailments.append("1 app of 2 no longer looked after")
    status, _, body = await bench.ask("/healthz")
    assert (status, json.loads(body)["status"]) == (503, "ill")


async def test_a_history_that_cannot_be_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "history.db").unlink()
    await bench.server.start()
    status, _, body = await bench.ask("/apps/myapp")
    assert (status, "cannot be read just now" in body) == (503, True)
    assert (await bench.ask("/healthz"))[0] == 503
    assert (await bench.ask("/"))[0] == 200
    await bench.server.close()


async def test_only_asking(bench: Bench) -> None:
    assert (await bench.ask("/", "POST"))[0] == 405
    status, headers, body = await bench.ask("/events", "HEAD")
    assert (status, headers["content-type"], body) == (200, "text/event-stream", "")


async def test_a_token_opens_the_page_and_goes_into_a_cookie(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TOKEN)
    await bench.server.start()
    status, headers, body = await bench.ask("/")
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="dropdeploy"')
    assert 'type="password"' in body
    assert "myapp" not in body
    status, _, body = await bench.ask("/?token=wrong")
    assert (status, "not the token" in body) == (401, True)
    assert (await bench.ask("/static/page.css"))[0] == 200
    status, headers, _ = await bench.ask(f"/apps/myapp?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/apps/myapp")
    assert "httponly" in headers["set-cookie"].lower()
    assert TOKEN not in headers["set-cookie"]
    by_proxy = await bench.ask(f"/?token={TOKEN}", **{"X-Forwarded-Proto": "https"})
    assert "secure" in by_proxy[1]["set-cookie"].lower()
    assert "secure" not in headers["set-cookie"].lower()
    assert (await bench.ask("/", Cookie=headers["set-cookie"].partition(";")[0]))[0] == 200
    assert (await bench.ask("//evil.example/?token=" + TOKEN))[1].get("location", "/")[:2] != "//"
    await bench.server.close()


async def test_an_address_in_use(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"in use|exists"):
        await open_page(
            UnixAddress(str(tmp_path / "file")),
            "",
            apps=dict,
            ailments=list,
            glance=lambda: Glance([], Tally()),
            bulletin=Bulletin(),
            history=tmp_path / "h",
        )


# --- events ------------------------------------------------------------------------------------------------


async def test_events_come_as_they_happen(bench: Bench) -> None:
    reader, writer = await bench.connect("/events")
    async with asyncio.timeout(30):
        await reader.readuntil(b"retry: 2000\n\n")
        bench.bulletin.tell(Event("myapp", "myapp: it is\nlive"))
        await reader.readuntil(b'data: {"app": "myapp", "say": "myapp: it is live"}\n\n')
    writer.close()


async def test_who_stops_reading_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE_S", 0.2)
    monkeypatch.setattr(stream, "PAUSE_S", 0.001)
    reader, writer = await bench.connect("/events")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
    deadline = time.monotonic() + 60
    number = 0
    while bench.bulletin.count == 0:
        await asyncio.sleep(0.001)
    while bench.bulletin.count:
        assert time.monotonic() < deadline
        for _ in range(100):
            number += 1
            bench.bulletin.tell(Event("myapp", f"{number} {'x' * 900}"))
        await asyncio.sleep(0.001)
    assert (await bench.ask("/healthz"))[0] == 200
    writer.close()
    del reader


async def test_who_leaves_is_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    reader, writer = await bench.connect("/events")
    async with asyncio.timeout(30):
        await reader.readuntil(b":\n\n")
        writer.close()
        while bench.bulletin.count:
            await asyncio.sleep(0.01)


async def test_the_server_ends_although_somebody_listens(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.server.start()
    reader, writer = await bench.connect("/events")
    async with asyncio.timeout(30):
        await reader.readuntil(b"retry: 2000\n\n")
        await bench.server.close()
        await reader.read()  # to its end
    writer.close()
    await writer.wait_closed()
    assert not Path(bench.address.path).exists()


async def test_a_subscriber_gets_each_event_once_and_is_dropped_when_there_are_too_many() -> None:
    bulletin = Bulletin()
    subscriber = bulletin.subscribe()
    assert isinstance(subscriber, Subscriber)
    for app in ("a", "b", "a"):
        bulletin.tell(Event(app))
    assert await subscriber.take() == [Event("a"), Event("b")]
    for number in range(QUEUE + 1):
        bulletin.tell(Event(str(number)))
    assert subscriber.is_dropped
    assert await subscriber.take() == []
    assert bulletin.count == 0
    bulletin.close()
    assert bulletin.subscribe() is None


# --- what is liked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json, text/html", False),
        ("application/json, text/html;q=0.5", True),
        ("text/html;q=x, application/json;q=0.1", True),
        ("application/json;q=0", False),
        ("Application/JSON ; q=1", True),
        (";;,,=", False),
    ],
)
def test_json_is_sent_to_those_who_like_it_better(accept: str, wanted: bool) -> None:
    assert wants_json(accept) is wanted
