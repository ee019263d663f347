"""The contract's assertions are to tell as much as a test's own."""

import pytest

pytest.register_assert_rewrite("tests.unit.units.contract")
