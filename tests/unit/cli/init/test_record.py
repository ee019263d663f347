"""What is written down of what was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropdeploy.cli.init.record import Record, other_records, read_record, write_record
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Need
from dropdeploy.cli.refusal import Refusal

RECORD = Record(
    (
        Account("shop", "/home/shop"),
        Group("drop-shop"),
        Membership("up-shop", "drop-shop"),
        Directory(Path("/srv/drop/shop"), "dropdeploy", "drop-shop", 0o2770, Need.MATCH, ("status.toml",)),
        File(Path("/etc/x"), "text\n", "dropdeploy", 0o640),
        Enabled("shop.service"),
    ),
    ("user shop", "directory /srv"),
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records are root's")


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_record(tmp_path, "shop") == Record()
    write_record(tmp_path, "shop", RECORD)
    assert read_record(tmp_path, "shop") == RECORD
    assert other_records(tmp_path, "chat") == {"shop": RECORD}
    assert other_records(tmp_path, "shop") == {}
    assert (tmp_path / "init/shop.json").stat().st_mode & 0o777 == 0o600


def test_when_nothing_is_left_nothing_is_left(tmp_path: Path) -> None:
    write_record(tmp_path, "shop", RECORD)
    write_record(tmp_path, "shop", Record())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("which", "owner", "mode"), [("init/shop.json", 1, 0o600), ("init", 0, 0o777)])
def test_root_does_not_believe_what_others_could_have_written(
    tmp_path: Path, which: str, owner: int, mode: int
) -> None:
    write_record(tmp_path, "shop", RECORD)
    os.chown(tmp_path / which, owner, 0)
    (tmp_path / which).chmod(mode)
    with pytest.raises(Refusal, match="must belong to root"):
        read_record(tmp_path, "shop")
