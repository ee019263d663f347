"""Which things a wish comes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dropdeploy import datafiles
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Thing
from dropdeploy.cli.init.wanted import app_file, wanted_things
from dropdeploy.cli.init.wish import Ground, Templates, Wish
from dropdeploy.config.parse import SourceText, parse_config
from dropdeploy.model.app import Strategy
from dropdeploy.model.config import Config

TEMPLATES = Templates(
    polkit=(datafiles.find("polkit") / "dropdeploy-app.rules.in").read_text(),
    sshd=(datafiles.find("sshd") / "dropdeploy-uploader.conf.in").read_text(),
    drop_in=(datafiles.find("systemd") / "dropdeploy-app.conf.in").read_text(),
)
WISH = Wish(
    app="shop",
    root=Path("/home/shop"),
    drop=Path("/srv/drop/shop"),
    unit="shop.service",
    user="shop",
    uploader="up-shop",
    key="ssh-ed25519 AAAA ada@laptop\n",
    strategy=Strategy.RESTART,
    port=3000,
    health="/health",
    kind="",
)
GROUND = Ground(directory=Path("/etc/dropdeploy"), group="shop")


def things(wish: Wish = WISH, ground: Ground = GROUND) -> dict[str, Thing]:
    return {thing.place: thing for thing in wanted_things(wish, ground, TEMPLATES)}


def file(path: str, wish: Wish = WISH, ground: Ground = GROUND) -> str:
    thing = things(wish, ground)[f"file {path}"]
    assert isinstance(thing, File)
    return thing.text


def configured(wish: Wish) -> Config:
    config = parse_config(None, [SourceText("/etc/dropdeploy/apps.d/shop.toml", app_file(wish))])
    assert isinstance(config, Config), config
    return config


def test_all_templates_are_filled() -> None:
    for thing in things().values():
        if isinstance(thing, File):
            assert "@" not in thing.text.replace("ada@laptop", "").replace("shop@.service", "").replace(
                '"@.service"', ""
            ).replace(r"/@\d{8}", "")


def test_accounts_come_before_what_belongs_to_them() -> None:
    known = {"root"}
    for thing in wanted_things(WISH, GROUND, TEMPLATES):
        match thing:
            case Account(name) | Group(name):
                known.add(name)
            case Membership(user, group):
                assert user in known
                assert group in {*known, "systemd-journal"}
            case Directory(owner=owner, group=group):
                assert {owner, group} <= known
            case File(group=group):
                assert group in known
            case Enabled():
                pass


@pytest.mark.parametrize(
    "wish",
    [
        WISH,
        replace(
            WISH, root=Path("/srv/apps/shop"), drop=Path("/data/up/shop"), unit="web.service", strategy=Strategy.RELOAD
        ),
        replace(WISH, port=0),
    ],
)
def test_the_apps_file_says_what_was_asked_for(wish: Wish) -> None:
    (app,) = configured(wish).apps
    assert (app.root, app.drop, app.unit, app.strategy) == (wish.root, wish.drop, wish.unit, wish.strategy)
    assert app.health.url == ("http://127.0.0.1:3000/health" if wish.port else "")


def test_the_agent_may_manage_the_apps_units_only() -> None:
    assert 'var units = ["shop.service"];' in file("/etc/polkit-1/rules.d/50-dropdeploy-shop.rules")
    handover = replace(WISH, strategy=Strategy.HANDOVER)
    rule = file("/etc/polkit-1/rules.d/50-dropdeploy-shop.rules", handover)
    assert 'var units = ["shop.service", "shop@.service", "shop.socket"];' in rule


def test_a_drop_directory_elsewhere_is_shown_to_the_agent_and_is_its_own_chroot() -> None:
    wish = replace(WISH, drop=Path("/data/up/shop"))
    assert "BindPaths=-/home/shop -/data/up/shop\n" in file(
        "/etc/systemd/system/dropdeploy.service.d/app-shop.conf", wish
    )
    block = file("/etc/ssh/sshd_config.d/dropdeploy-up-shop.conf", wish)
    assert "ChrootDirectory /data/up\n" in block
    assert "internal-sftp -d /shop" in block
    assert {"directory /", "directory /data", "directory /data/up"} <= set(things(wish))


def test_directories_on_the_way_are_made() -> None:
    wish = replace(WISH, root=Path("/srv/apps/shop"))
    ground = replace(GROUND, missing=(Path("/srv/apps"), Path("/srv/drop")))
    places = list(things(wish, ground))
    assert places.index("directory /srv/apps") < places.index("directory /srv/apps/shop")
    assert things(wish, ground)["directory /srv/drop"] == things(wish)["directory /srv/drop"]


def test_what_the_administrator_wrote_into_the_apps_file_stays() -> None:
    text = 'shared = [".env"]\n'
    assert file("/etc/dropdeploy/apps.d/shop.toml", ground=replace(GROUND, app_file=text)) == text


def test_without_an_uploader_sshd_is_left_alone() -> None:
    assert not any("ssh" in place for place in things(replace(WISH, uploader="", key="")))


def test_an_uploader_of_two_apps_keeps_its_block() -> None:
    block = "Match User up-shop\n    ChrootDirectory /srv/drop\n"
    assert file("/etc/ssh/sshd_config.d/dropdeploy-up-shop.conf", ground=replace(GROUND, sshd_block=block)) == block


def test_the_apps_own_units_are_managed_and_what_boots_is_enabled() -> None:
    names = ("shop.socket", "shop.service", "shop@.service", "shop-trial.socket", "shop-trial@.service")
    ground = replace(GROUND, units=tuple((name, f"# {name}\n") for name in names))
    made = things(replace(WISH, kind="node"), ground)
    assert {place for place in made if place.startswith("enabled")} == {"enabled shop.socket", "enabled shop.service"}
    assert all(f'"{name}"' in file("/etc/polkit-1/rules.d/50-dropdeploy-shop.rules", ground=ground) for name in names)
    assert file("/etc/systemd/system/shop@.service", ground=ground) == "# shop@.service\n"


def test_where_pip_installed_the_agent_its_unit_is_made_too() -> None:
    assert "file /etc/systemd/system/dropdeploy.service" not in things()
    made = things(ground=replace(GROUND, agent_unit="[Service]\n"))
    assert {"file /etc/systemd/system/dropdeploy.service", "enabled dropdeploy.service"} <= set(made)
