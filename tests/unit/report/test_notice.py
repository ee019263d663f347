from __future__ import annotations

import email
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.model.app import Notify
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status, StepName
from dropdeploy.model.request import Action
from dropdeploy.report.mail import compose_mail
from dropdeploy.report.notice import channels_for, compose, sign
from dropdeploy.report.result import outcome_as_json

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
GOOD = Outcome(
    Status.DEPLOYED,
    "20260123-143022 is live and healthy after 1.9 s",
    "shop",
    Action.DEPLOY,
    7,
    NOW,
    NOW,
    upload="build.tar.gz",
    meta=(("commit", "1a2b3c4"), ("author", "Zoë")),
)
BAD = replace(
    GOOD,
    status=Status.ROLLED_BACK,
    summary="20260123-143022 was ill, 20260122-091545 is live and healthy again after 0.7 s",
    fault=Fault(ErrorCode.UNIT_CRASHED, "shop.service has crashed", "look at its log", "booting\n<b>no</b> ```DB```"),
    fault_step=StepName.HEALTH,
)


def shaped(outcome: Outcome, shape: str) -> Any:
    return json.loads(compose(outcome, shape, "web1").body)


def test_json_is_the_result() -> None:
    notice = compose(BAD, "json", "web1")
    assert json.loads(notice.body) == outcome_as_json(BAD)
    assert notice.headers == {
        "Content-Type": "application/json",
        "X-Dropdeploy-Delivery": "7",
        "X-Dropdeploy-Status": "rolled-back",
    }


def test_the_signature_is_that_of_the_body() -> None:
    notice = sign(compose(GOOD, "json", "web1"), b"secret")
    digest = hmac.new(b"secret", notice.body, hashlib.sha256).hexdigest()
    assert notice.headers["X-Dropdeploy-Signature"] == f"sha256={digest}"


def test_slack() -> None:
    told = shaped(BAD, "slack")
    assert told["text"].startswith("shop: rolled-back: 20260123-143022 was ill")
    assert told["attachments"][0]["color"] == "#d1343d"
    assert told["attachments"][0]["text"] == (
        "unit-crashed (health): shop.service has crashed\n"
        "hint: look at its log\n"
        "deploy 7 of build.tar.gz on web1, commit 1a2b3c4, author Zoë\n"
        "```\nbooting\n&lt;b&gt;no&lt;/b&gt; '''DB'''\n```"
    )


def test_discord() -> None:
    told = shaped(replace(GOOD, upload="@everyone.zip"), "discord")
    assert told["allowed_mentions"] == {"parse": []}
    assert told["embeds"][0]["title"] == "shop: deployed: 20260123-143022 is live and healthy after 1.9 s"
    assert "deploy 7 of @everyone.zip on web1" in told["embeds"][0]["description"]


def test_ntfy() -> None:
    notice = compose(BAD, "ntfy", "web1")
    assert notice.headers["Title"] == "shop: rolled-back"
    assert (notice.headers["Tags"], notice.headers["Priority"]) == ("rotating_light", "high")
    assert notice.body.decode().startswith("20260123-143022 was ill")
    assert compose(GOOD, "ntfy", "web1").headers["Priority"] == "default"


@pytest.mark.parametrize("shape", ["json", "slack", "discord", "ntfy"])
@given(text=st.text(max_size=20_000), name=st.text(max_size=300), value=st.text(max_size=3000))
def test_strangers_texts_keep_to_the_receivers_limits(shape: str, text: str, name: str, value: str) -> None:
    assert BAD.fault is not None
    outcome = replace(
        BAD, summary=text, upload=name, meta=(("note", value),), fault=replace(BAD.fault, log=text * 3, message=value)
    )
    notice = compose(outcome, shape, "web1")
    assert all(value.isascii() and value.isprintable() for value in notice.headers.values())
    if shape == "ntfy":
        assert len(notice.body) <= 4096
        notice.body.decode()
    if shape == "slack":
        told = json.loads(notice.body)["attachments"][0]["text"]
        assert told.count("```") in (0, 2)
        assert not {"<", ">"} & set(told)
    if shape == "discord":
        embed = json.loads(notice.body)["embeds"][0]
        assert len(embed["title"]) <= 256
        assert len(embed["description"]) <= 4096


def test_channels() -> None:
    assert channels_for(Notify(), Status.FAILED) == ()
    both = Notify(webhook="https://x", email=("root",), on=(Status.FAILED,))
    assert channels_for(both, Status.FAILED) == ("webhook", "email")
    assert channels_for(both, Status.DEPLOYED) == ()


def test_a_mail() -> None:
    sent = compose_mail(BAD, ["ops@example.com", "root"], "web1.example.com")
    assert b"\r" not in sent
    message = email.message_from_bytes(sent, _class=EmailMessage, policy=default)
    assert isinstance(message, EmailMessage)
    assert message["To"] == "ops@example.com, root"
    assert message["Subject"].startswith("shop: rolled-back: 20260123-143022 was ill")
    assert message["Message-ID"] == "<dropdeploy.7.20260123143022@web1.example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, result = message.iter_parts()
    assert "hint: look at its log" in text.get_content()
    assert text.get_content().endswith("log:\n\nbooting\n<b>no</b> ```DB```\n")
    assert result.get_filename() == "result.toml"
    assert 'status = "rolled-back"' in result.get_content()


@given(st.text(max_size=500))
def test_no_text_becomes_a_header(text: str) -> None:
    outcome = replace(BAD, summary=text, upload=text)
    message = email.message_from_bytes(compose_mail(outcome, ["root"], "web1"), _class=EmailMessage, policy=default)
    assert sorted(set(message.keys())) == [
        "Auto-Submitted",
        "Content-Type",
        "Date",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ]
