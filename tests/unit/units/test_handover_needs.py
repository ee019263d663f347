"""What a handover asks of an app's units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dropdeploy.instances import NO_RELEASE
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.units.handover_needs import ServiceSetting, find_unmet, parse_setting

PLAIN = ServiceSetting(
    unit="shop.service",
    load_state="loaded",
    type="notify",
    is_non_blocking=True,
    sockets=("shop.socket",),
    directory="/home/shop/app",
)
INSTANCE = replace(PLAIN, unit=f"shop@{NO_RELEASE}.service", directory=f"/home/shop/releases/{NO_RELEASE}")


def unmet(
    plain: ServiceSetting = PLAIN, instance: ServiceSetting = INSTANCE, socket: str = "loaded"
) -> tuple[Fault, ...]:
    states = dict.fromkeys((*plain.sockets, *instance.sockets), socket)
    return find_unmet(plain, instance, states, template="shop@.service", release=NO_RELEASE)


def test_units_as_they_have_to_be() -> None:
    assert unmet() == ()
    assert unmet(instance=replace(INSTANCE, type="notify-reload")) == ()
    assert unmet(plain=replace(PLAIN, sockets=("shop-admin.socket", "shop.socket"))) == ()


PLAIN_WITHOUT: list[tuple[dict[str, Any], str]] = [
    ({"is_non_blocking": False}, "a handover needs NonBlocking=yes in shop.service: "),
    (
        {"type": "simple"},
        "a handover needs Type=notify in shop.service: with Type=simple nobody knows when it is ready",
    ),
    ({"sockets": ()}, "a handover needs Sockets=shop.socket in shop.service: "),
    ({"load_state": "not-found"}, "a handover needs shop.service, which does not exist"),
]
INSTANCE_WITHOUT: list[tuple[dict[str, Any], str]] = [
    ({"is_non_blocking": False}, "a handover needs NonBlocking=yes in shop@.service: "),
    ({"type": "exec"}, "a handover needs Type=notify in shop@.service: with Type=exec nobody knows when it is ready"),
    ({"sockets": ()}, "a handover needs Sockets=shop.socket in shop@.service: "),
    ({"sockets": ("other.socket",)}, "a handover needs Sockets=shop.socket in shop@.service: "),
    ({"directory": "/home/shop/app"}, "a handover needs WorkingDirectory=…/releases/%i in shop@.service: "),
    ({"directory": ""}, "a handover needs WorkingDirectory=…/releases/%i in shop@.service: "),
    ({"load_state": "not-found"}, "a handover needs shop@.service, which does not exist"),
    ({"load_state": "masked"}, "shop@.service is masked"),
    ({"load_state": "bad-setting"}, "shop@.service cannot be loaded by systemd (bad-setting)"),
]


@pytest.mark.parametrize(("change", "told"), PLAIN_WITHOUT)
def test_the_plain_unit(change: dict[str, Any], told: str) -> None:
    (fault,) = unmet(plain=replace(PLAIN, **change))
    assert fault.message.startswith(told)
    assert fault.hint


@pytest.mark.parametrize(("change", "told"), INSTANCE_WITHOUT)
def test_the_template(change: dict[str, Any], told: str) -> None:
    (fault,) = unmet(instance=replace(INSTANCE, **change))
    assert fault.message.startswith(told)
    assert fault.hint


def test_all_is_told_at_once() -> None:
    bare = replace(PLAIN, type="simple", is_non_blocking=False)
    assert len(unmet(plain=bare, instance=replace(INSTANCE, type="simple", is_non_blocking=False))) == 4


def test_a_socket_that_does_not_exist() -> None:
    (fault,) = unmet(socket="not-found")
    assert (fault.code, fault.message) == (
        ErrorCode.UNIT_NOT_FOUND,
        "a handover needs shop.socket, which does not exist",
    )


def test_no_socket_at_all_is_looked_for_under_the_unit_s_name() -> None:
    (fault,) = unmet(plain=replace(PLAIN, sockets=()), instance=replace(INSTANCE, sockets=()))
    assert fault.message.startswith("a handover needs Sockets=shop.socket in shop.service")


def test_what_systemd_tells() -> None:
    properties = {
        "LoadState": "loaded",
        "Type": "notify",
        "NonBlocking": True,
        "TriggeredBy": ["shop.socket", "shop.timer"],
        "WorkingDirectory": "!/home/shop/app",
    }
    assert parse_setting("shop.service", properties) == PLAIN
    assert parse_setting("x.service", {"LoadState": "not-found", "TriggeredBy": []}).load_state == "not-found"
