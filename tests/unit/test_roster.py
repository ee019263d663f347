"""The roster: what the agent writes, a command reads; and nothing is made of what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropdeploy.roster import ROSTER_NAME, Entry, Roster, entry_line, head_line, read_roster

SOURCES = {"dropdeploy.toml": (1, 2, 3, 4), "apps.d/shop.toml": (5, 6, 7, 8)}


def write(state: Path, *lines: str) -> None:
    (state / ROSTER_NAME).write_text("\n".join(lines))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    shop = entry_line("shop", Path("/home/shop"), Path("/srv/drop/shop"), '{"live":"20260101-000000"}', (1, 2, 3, 4))
    write(tmp_path, head_line("system", SOURCES), entry_line("blog", Path("/b"), Path("/d")), shop)
    told = {"live": "20260101-000000"}
    entries = (Entry("blog", "/b", "/d"), Entry("shop", "/home/shop", "/srv/drop/shop", told, (1, 2, 3, 4)))
    assert read_roster(tmp_path) == Roster("system", SOURCES, entries)


def test_no_app_at_all(tmp_path: Path) -> None:
    write(tmp_path, head_line("user", {}))
    assert read_roster(tmp_path) == Roster("user", {}, ())


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("nonsense",),
        ("[]",),
        ('{"schema":2,"bus":"system","sources":{}}',),
        ('{"schema":1,"sources":{}}',),
        (head_line("system", SOURCES), '["shop","/home'),
        (head_line("system", SOURCES), '["shop"]'),
    ],
)
def test_what_is_none_tells_nothing(lines: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path, *lines)
    assert read_roster(tmp_path) is None


def test_where_there_is_none(tmp_path: Path) -> None:
    assert read_roster(tmp_path) is None
