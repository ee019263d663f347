from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page import browser
from tests.page.browser import Browser
from tests.page.street import Street, furnished


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Houses in which things have happened, and an agent that shows them."""
    street = furnished(tmp_path_factory.mktemp("street"))
    yield street
    assert street.stop() == 0
    log = street.log.read_text()
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if browser.find() is None:
        pytest.skip("there is no Chromium")
    with browser.opened(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def browser_window(window: Browser) -> Iterator[Browser]:
    """As a person has it who has changed nothing. Whatever the console complains of has failed the test."""
    window.look()
    window.complaints.clear()
    yield window
    assert window.complaints == []
