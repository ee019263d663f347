from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.model.release import next_release_id, parse_release_id

NOW = datetime(2026, 1, 23, 14, 30, 22, 999_999, tzinfo=UTC)


def test_an_id_is_the_time_in_utc() -> None:
    assert next_release_id(NOW, None) == "20260123-143022"
    assert next_release_id(NOW.astimezone(timezone(timedelta(hours=9))), "") == "20260123-143022"


@pytest.mark.parametrize("newest", ["20260123-143022", "20260123-143023", "20310101-000000"])
def test_ids_only_grow_when_the_clock_does_not(newest: str) -> None:
    following = parse_release_id(next_release_id(NOW, newest))
    before = parse_release_id(newest)
    assert following is not None
    assert before is not None
    assert following - before == timedelta(seconds=1)


@pytest.mark.parametrize(
    "text",
    ["", "2026123-143022", "20260123-14302", "20260123_143022", "20261323-143022", " 20260123-143022", ".staging"],
)
def test_what_is_no_id(text: str) -> None:
    assert parse_release_id(text) is None


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1))
)
def test_the_next_id_is_greater_as_text_too(now: datetime, newest: datetime) -> None:
    before = next_release_id(newest.replace(tzinfo=UTC), None)
    assert next_release_id(now.replace(tzinfo=UTC), before) > before
