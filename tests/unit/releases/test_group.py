from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.group import find_group, grant_group, prepare_group
from tests.unit.releases.test_removal import ordinary_user


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "staging").mkdir()
    fd = os.open(tmp_path / "staging", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_find(staging: int) -> None:
    assert find_group("", staging) == os.fstat(staging).st_gid
    assert find_group("root", staging) == 0
    assert find_group("4321", staging) == 4321
    fault = find_group("no-such-group", staging)
    assert isinstance(fault, Fault)
    assert "groupadd --system no-such-group" in fault.hint


def test_a_group_of_the_agents_is_inherited(staging: int, tmp_path: Path) -> None:
    gid = os.getegid()
    prepare_group(staging, gid)
    assert stat.S_IMODE(os.fstat(staging).st_mode) == 0o2755
    (tmp_path / "staging/d").mkdir()
    assert (tmp_path / "staging/d").stat().st_gid == gid
    assert isinstance(grant_group(staging, gid, ""), str)


def test_a_group_that_the_agent_may_not_set(staging: int, tmp_path: Path) -> None:
    with ordinary_user(tmp_path):
        prepare_group(staging, 0)
        assert os.fstat(staging).st_gid == os.getegid()
        assert stat.S_IMODE(os.fstat(staging).st_mode) == 0o755
        note = grant_group(staging, 0, "")
        assert isinstance(note, str)
        assert "may not set root" in note
        fault = grant_group(staging, 0, "root")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.NOT_AUTHORISED
    assert "is no member of it" in fault.message
    assert "usermod -aG root" in fault.hint


def test_a_directory_that_has_the_group_but_cannot_pass_it_on(staging: int, tmp_path: Path) -> None:
    """releases/ itself may be set-group-id, of a group that the agent's user is not in."""
    if os.geteuid() != 0:  # who may not give a directory to a foreign group meets none
        prepare_group(staging, os.getegid())
        assert os.fstat(staging).st_mode & stat.S_ISGID
        return
    with ordinary_user(tmp_path):
        pass
    os.chown(tmp_path / "staging", 65534, 4321)
    with ordinary_user():
        prepare_group(staging, 4321)
        assert os.fstat(staging).st_gid == 65534
        assert isinstance(grant_group(staging, 4321, "4321"), Fault)


def test_a_tree_made_before_the_group_could_be_set(staging: int, tmp_path: Path) -> None:
    gid = 4321 if os.geteuid() == 0 else os.getgroups()[-1]
    (tmp_path / "staging/a/b").mkdir(parents=True)
    (tmp_path / "staging/a/b/file").touch()
    (tmp_path / "staging/a/link").symlink_to("nowhere")
    assert isinstance(grant_group(staging, gid, str(gid)), str)
    assert {path.lstat().st_gid for path in (tmp_path / "staging").rglob("*")} == {gid}
