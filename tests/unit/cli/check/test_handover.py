"""``strategy = "handover"``: what ``systemctl show`` prints, held against what a handover needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropdeploy.cli.check.handover import check_handover
from dropdeploy.cli.check.systemctl import Facts
from dropdeploy.model.app import App, Strategy

APP = App("shop", Path("/home/shop"), Path("/srv/drop/shop"), "shop.service", strategy=Strategy.HANDOVER)
SERVICE: Facts = {
    "LoadState": "loaded",
    "Type": "notify",
    "NonBlocking": "yes",
    "TriggeredBy": "shop.socket",
    "WorkingDirectory": "!/home/shop/app",
}
INSTANCE: Facts = {**SERVICE, "WorkingDirectory": "/home/shop/releases/20000101-000000"}


def told(plain: Facts = SERVICE, instance: Facts = INSTANCE, socket: str = "loaded") -> list[str]:
    facts = {"shop.service": plain, "shop@20000101-000000.service": instance, "shop.socket": {"LoadState": socket}}
    return [f"{finding.level.lower()} {finding.what}" for finding in check_handover(APP, facts)]


def test_units_as_init_makes_them() -> None:
    assert told() == ["ok shop.service can be handed over from release to release"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"plain": {**SERVICE, "NonBlocking": "no"}}, "NonBlocking=yes in shop.service"),
        ({"instance": {**INSTANCE, "NonBlocking": "no"}}, "NonBlocking=yes in shop@.service"),
        ({"instance": {**INSTANCE, "Type": "simple"}}, "Type=notify in shop@.service"),
        ({"instance": {**INSTANCE, "TriggeredBy": ""}}, "Sockets=shop.socket in shop@.service"),
        (
            {"instance": {**INSTANCE, "WorkingDirectory": "/home/shop/app"}},
            "WorkingDirectory=…/releases/%i in shop@.service",
        ),
        ({"instance": {**INSTANCE, "LoadState": "not-found"}}, "shop@.service, which does not exist"),
        ({"socket": "not-found"}, "shop.socket, which does not exist"),
    ],
)
def test_what_is_missing(changed: dict[str, Facts | str], what: str) -> None:
    (finding,) = told(**changed)  # type: ignore[arg-type]
    assert finding.startswith(f"fail a handover needs {what}")
