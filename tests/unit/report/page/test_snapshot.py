"""status.html: one file, which runs nothing and fetches nothing, whatever stands in it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action
from dropdeploy.report.page.snapshot import snapshot
from dropdeploy.report.status import AppNow

NOON = datetime(2026, 1, 23, 12, 0, tzinfo=UTC)
MADE = Outcome(
    Status.DEPLOYED,
    "20260123-120000 is live and healthy after 1.9 s",
    "shop",
    Action.DEPLOY,
    7,
    NOON,
    NOON,
    upload="v1.zip",
    release="20260123-120000",
    live="20260123-120000",
    meta=(("author", "Ada"), ("commit", "1a2b3c4")),
)
SHOP = AppNow(
    "shop",
    live="20260123-120000",
    is_healthy=True,
    since=NOON,
    releases=(("20260123-120000", True), ("20260122-120000", True), ("20260121-120000", False)),
    last=MADE,
    maker=MADE,
    rollback_to="20260122-120000",
)


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.sheet = ""
        self._is_style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._is_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.sheet += data
        else:
            self.text += data


def read(now: AppNow) -> Reader:
    return Reader(snapshot(now, NOON + timedelta(minutes=1)))


def test_what_an_uploader_asks() -> None:
    text = read(SHOP).text
    for told in (
        "shop",
        "healthy",
        "20260123-120000",
        "author: Ada",
        "A rollback would go to20260122-120000",
        "deployed",
    ):
        assert told in text
    assert "As it was at 2026-01-23 12:01:00 UTC" in text
    assert re.search("20260121-120000.*ill", text)


def test_nothing_is_live_yet() -> None:
    text = read(AppNow("new")).text
    assert "nothing live" in text
    assert "rollback" not in text


def test_what_goes_on_and_what_waits() -> None:
    text = read(replace(SHOP, working="v2.zip: health", queue=("v3.zip", "v4.zip"), is_held=True)).text
    for told in ("at work v2.zip: health", "on hold", "2 waiting v3.zip, v4.zip"):
        assert told in text


def test_what_failed_and_why() -> None:
    fault = Fault(ErrorCode.UNIT_CRASHED, "shop.service has crashed", "look at its log", "DATABASE_URL is not set")
    text = read(replace(SHOP, last=replace(MADE, status=Status.ROLLED_BACK, fault=fault))).text
    for told in (
        "rolled back",
        "shop.service has crashed",
        "unit-crashed",
        "look at its log",
        "DATABASE_URL is not set",
    ):
        assert told in text


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", '"><img src=//x onerror=alert(1)>', "</style><script>", "a\x1b[31m\u202e", "\udce9"],
)
def test_what_strangers_wrote_stays_text(hostile: str) -> None:
    fault = Fault(ErrorCode.UNIT_CRASHED, hostile, hostile, hostile)
    last = replace(MADE, status=Status.FAILED, upload=hostile, summary=hostile, fault=fault, meta=((hostile, hostile),))
    strange = replace(SHOP, last=last, maker=last, queue=(hostile,), working=f"{hostile}: extract")
    page = snapshot(strange, NOON)
    page.encode()  # can be written
    assert not {"\x1b", "\u202e"} & set(page)
    calm, odd = read(replace(strange, last=replace(last, upload="x"))), Reader(page)
    assert {name for name, _ in odd.elements} == {name for name, _ in calm.elements}
    assert not {"script", "img", "iframe", "link", "form", "a"} & {name for name, _ in odd.elements}
    assert not [
        key for _, attributes in odd.elements for key in attributes if key.startswith("on") or key in ("src", "href")
    ]


def test_the_policy_allows_its_own_style_and_nothing_else() -> None:
    page = read(SHOP)
    (policy,) = (
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.sheet.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in page.sheet
    assert "@import" not in page.sheet
    assert [name for name, _ in page.elements].index("style") > 0
    assert not [attributes for _, attributes in page.elements if "style" in attributes]
