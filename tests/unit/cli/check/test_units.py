from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dropdeploy.cli.check.systemctl import Facts, parse_facts
from dropdeploy.cli.check.units import Named, Role, check_unit, units_of
from dropdeploy.model.app import App, Hooks, Notify, Strategy, TrialCheck

APP = App("shop", Path("/home/shop"), Path("/srv/drop/shop"), "shop.service")
FINE = parse_facts(
    """LoadState=loaded
LoadError=
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
TriggeredBy=
CanReload=yes
Type=notify
User=shop
DynamicUser=no
WorkingDirectory=/home/shop/app
RootDirectory=
ExecStart={ path=/usr/bin/node ; argv[]=/usr/bin/node server.js ; ignore_errors=no }
Environment="""
)
OF_RELEASE = {**FINE, "WorkingDirectory": "/home/shop/releases/20000101-000000", "Type": "oneshot"}
UNIT, TRIAL, HOOK = (Named(role, "shop.service") for role in (Role.UNIT, Role.TRIAL, Role.HOOK))


def told(named: Named, facts: Facts, app: App = APP) -> list[str]:
    return [f"{finding.level.lower()} {finding.what}" for finding in check_unit(app, named, facts)][1:]


@pytest.mark.parametrize(
    ("named", "facts", "level"),
    [
        (UNIT, FINE, None),
        (UNIT, {**FINE, "UnitFileState": "disabled"}, "warn shop.service does not start with the machine"),
        (UNIT, {**FINE, "UnitFileState": "disabled", "TriggeredBy": "shop.socket"}, None),
        (UNIT, {**FINE, "NeedDaemonReload": "yes"}, "warn systemd has not read shop.service"),
        (UNIT, {**FINE, "WorkingDirectory": "/srv"}, "warn shop.service does not name /home/shop/app"),
        (UNIT, {**FINE, "WorkingDirectory": "", "ExecStart": "{ argv[]=/home/shop/app/start }"}, None),
        (UNIT, {**FINE, "CanReload": "no"}, None),
        (TRIAL, OF_RELEASE, None),
        (TRIAL, FINE, "warn shop.service does not name /home/shop/releases/%i"),
        (HOOK, OF_RELEASE, None),
        (HOOK, {**OF_RELEASE, "Type": "simple"}, "warn shop.service has Type=simple"),
        (HOOK, {**FINE, "Type": "oneshot", "ExecStart": "{ argv[]=/bin/migrate 20000101-000000 }"}, None),
    ],
)
def test_a_unit_and_what_it_is_for(named: Named, facts: Facts, level: str | None) -> None:
    found = told(named, facts)
    assert len(found) == (0 if level is None else 1)
    assert level is None or found[0].startswith(level)


def test_what_the_apps_file_asks_of_its_unit() -> None:
    (reload,) = told(UNIT, {**FINE, "CanReload": "no"}, replace(APP, strategy=Strategy.RELOAD))
    assert reload == 'fail shop.service has no ExecReload=, and strategy = "reload" needs one'
    shares = replace(APP, dedupe=True)
    assert told(UNIT, FINE, shares) == told(UNIT, {**FINE, "User": "", "DynamicUser": "yes"}, shares) == []
    (root,) = told(UNIT, {**FINE, "User": ""}, shares)
    assert root.startswith("fail shop.service runs as root")


def test_every_unit_that_an_app_names() -> None:
    app = replace(
        APP,
        trial=TrialCheck("shop-trial@.service"),
        hooks=Hooks(("shop-migrate@.service",), ("shop-warm@.service",)),
        notify=Notify(email=("ada@example.org",)),
    )
    assert [named.unit for named in units_of(replace(app, strategy=Strategy.HANDOVER))] == [
        "shop.service",
        "shop@20000101-000000.service",
        "shop-trial@20000101-000000.service",
        "shop-migrate@20000101-000000.service",
        "shop-warm@20000101-000000.service",
        "dropdeploy-mail@1.service",
    ]
