from __future__ import annotations

import os
import pwd

import pytest

from dropdeploy.loading import _writer
from dropdeploy.model.unit import UnitState


@pytest.mark.parametrize(
    ("user", "writer"),
    [("", "root"), ("root", "root"), (pwd.getpwuid(os.geteuid()).pw_name,) * 2, ("www-data", ""), ("*", "")],
)
def test_who_could_change_what_releases_share(user: str, writer: str) -> None:
    assert _writer(UnitState("shop.service", user=user)) == writer
