"""The units made from contrib/apps, as text. That systemd takes them and apps serve so, tests/box shows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dropdeploy.units.templates import KINDS, AppUnits, render_units

APPS = Path(__file__).resolve().parents[3] / "contrib/apps"
SHOP = AppUnits(
    kind="node",
    app="shop",
    root="/home/shop",
    user="www",
    port=3000,
    share="/usr/share/dropdeploy/apps",
    idle_grace_s=5,
)


def read(name: str) -> str:
    return (APPS / name).read_text()


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_five_units_without_a_placeholder_left(kind: str) -> None:
    made = render_units(replace(SHOP, kind=kind), read)
    assert list(made) == ["shop.socket", "shop.service", "shop@.service", "shop-trial.socket", "shop-trial@.service"]
    for name, text in made.items():
        assert f"/etc/systemd/system/{name}" in text
        assert not re.search(r"@[A-Z]+@", text)


@pytest.mark.parametrize("kind", KINDS)
def test_instances_work_in_their_release_and_the_plain_service_in_the_live_one(kind: str) -> None:
    made = render_units(replace(SHOP, kind=kind), read)
    places = {name: values(text, "WorkingDirectory") for name, text in made.items() if name.endswith(".service")}
    assert places == {
        "shop.service": ["/home/shop/app"],
        "shop@.service": ["/home/shop/releases/%i"],
        "shop-trial@.service": ["/home/shop/releases/%i"],
    }
    for name, text in made.items():
        if name.endswith(".service"):
            trial = "-trial" if "trial" in name else ""
            assert values(text, "Sockets") == [f"shop{trial}.socket"]
            assert values(text, "NonBlocking") == ["yes"]
            assert values(text, "Type") == ["notify"]
            assert len(values(text, "ExecStart")) == 1
            assert values(text, "Restart")[-1] == ("no" if trial else "always")


def test_every_file_that_a_unit_names_is_there() -> None:
    for kind in KINDS:
        for text in render_units(replace(SHOP, kind=kind), read).values():
            for name in re.findall(r"/usr/share/dropdeploy/apps/([\w/.-]+\w)", text):
                assert (APPS / name).is_file(), name


def test_what_no_unit_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match='no such kind of app: "ruby"; there are node, '):
        render_units(replace(SHOP, kind="ruby"), read)
    with pytest.raises(ValueError, match='"/srv/my shop" cannot stand in a unit file'):
        render_units(replace(SHOP, root="/srv/my shop"), read)
    with pytest.raises(ValueError, match="@FOO@, for which there is no value"):
        render_units(SHOP, lambda name: "@FOO@")


def test_a_percent_sign_is_no_specifier() -> None:
    made = render_units(replace(SHOP, root="/srv/100%"), read)
    assert values(made["shop.service"], "WorkingDirectory") == ["/srv/100%%/app"]
