from __future__ import annotations

from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode
from dropdeploy.model.outcome import Status

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("value", [*ErrorCode, *Status])
def test_it_has_been_seen_in_a_real_result(value: ErrorCode | Status) -> None:
    """Some test of a whole agent, here or in the box, has it in a result file that it reads."""
    sources = [*TESTS.glob("agent/test_*.py"), *TESTS.glob("box/test_*.py")]
    assert any(f'"{value}"' in source.read_text() for source in sources)
