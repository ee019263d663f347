from datetime import UTC, datetime, timedelta

import pytest

from dropdeploy.cli.moments import show_age, show_time

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_age(seconds: int, told: str) -> None:
    assert show_age(NOW - timedelta(seconds=seconds), NOW) == told


def test_times_are_local() -> None:
    assert show_time(NOW) == NOW.astimezone().strftime("%Y-%m-%d %H:%M")
