"""The status page in a real browser: what is seen, by whom, and how."""

from __future__ import annotations

import pytest

from tests.agent.world import build
from tests.page import axe
from tests.page.browser import Browser
from tests.page.street import HOSTILE, Street

PAGES = ("/", "/apps/shop", "/apps/landing", "/apps/shop/deploys/3", "/apps/docs/deploys/6", "/nothing")
TASTES = {
    "light": {"is_dark": False},
    "dark": {"is_dark": True},
    "phone": {"width": 360, "height": 740},
}


@pytest.fixture(scope="session")
def axe_script() -> str:
    return axe.source()


@pytest.mark.parametrize("taste", TASTES)
def test_nothing_keeps_anybody_from_reading(
    street: Street, browser_window: Browser, axe_script: str, taste: str
) -> None:
    browser_window.look(**TASTES[taste])  # type: ignore[arg-type]
    for path in PAGES:
        browser_window.open(street.at(path))
        assert axe.violations(browser_window, axe_script) == [], path
        assert browser_window.ask("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
    browser_window.complaints = [each for each in browser_window.complaints if "404" not in each]  # /nothing


def test_what_is_seen_follows_a_deploy(street: Street, browser_window: Browser, axe_script: str) -> None:
    browser_window.open(street.at("/apps/api"))
    browser_window.wait_for("document.querySelector('#link').className === 'link live'")
    browser_window.ask("window.stays = document.querySelector('h1'); stays.focused = 1")
    street.upload("api", "api-42.tar.gz", build("42", boot_s=4), author="Grace Hopper")
    # All at once, as it changes.
    number, heading = browser_window.wait_for(
        "((work) => work?.textContent.includes('health') && document.querySelector('main progress')"
        " && [work.querySelector('a').pathname, document.querySelector('h1').textContent])"
        "(document.querySelector('.work'))"
    )
    assert "not checked yet" in heading  # it is live, and booting
    assert axe.violations(browser_window, axe_script) == []
    browser_window.wait_for("!document.querySelector('main progress')")
    assert browser_window.wait_for("document.querySelector('#said').textContent").startswith("api: deployed: ")
    row = f"document.querySelector('#deploys + .wide a[href=\"{number}\"]')?.closest('tr').textContent"
    assert "deployed" in browser_window.wait_for(row)
    assert browser_window.ask("document.querySelector('h1') === stays")  # nothing was loaded anew
    browser_window.open(street.at(number))
    steps = browser_window.ask("[...document.querySelectorAll('.timeline .step')].map((step) => step.textContent)")
    assert steps == ["preflight", "extract", "link", "swap", "restart", "health", "prune"]


def test_an_overview_follows_too(street: Street, browser_window: Browser) -> None:
    browser_window.open(street.at("/"))
    browser_window.wait_for("document.querySelector('#link').className === 'link live'")
    row = "document.querySelector('#app-landing').textContent"
    assert "nothing live" in browser_window.ask(row)
    street.upload("landing", "landing.tar.gz", build("landing"), author="Ada Lovelace")
    browser_window.wait_for(f"{row}.includes('healthy') && {row}.includes('by Ada Lovelace')")


def test_it_is_read_without_scripts(street: Street, browser_window: Browser) -> None:
    browser_window.look(has_script=False)
    browser_window.open(street.at("/apps/shop"))
    page = browser_window.text("body")
    for answer in ("rolled back", "A rollback would go to", "Grace Hopper", "cannot go on: DATABASE_URL is not set"):
        assert answer in page
    assert "Reload to see what is new." in page


def test_the_keyboard_is_enough(street: Street, browser_window: Browser) -> None:
    browser_window.open(street.at("/"))
    browser_window.press("Tab")
    assert browser_window.ask("document.activeElement.className") == "skip"
    browser_window.press("Enter")
    browser_window.wait_for("document.activeElement.id === 'main'")
    browser_window.press("Tab")  # the first app: it needs a look most
    assert browser_window.ask("document.activeElement.textContent") == "intranet"
    outline = "getComputedStyle(document.activeElement)"
    assert browser_window.ask(f"{outline}.outlineStyle !== 'none' && parseFloat({outline}.outlineWidth) >= 2")
    browser_window.press("Enter")
    browser_window.wait_for("location.pathname === '/apps/intranet' && document.readyState === 'complete'")
    reached = set()
    for _ in range(40):
        browser_window.press("Tab")
        reached.add(
            browser_window.ask("document.activeElement.getAttribute('aria-label') || document.activeElement.href")
        )
    assert "The last lines of its log" in reached  # it may have to be scrolled
    assert any(address and address.endswith("/deploys/8") for address in reached)


def test_what_strangers_write_is_text(street: Street, browser_window: Browser) -> None:
    for path in ("/", "/apps/docs", "/apps/docs/deploys/6"):
        browser_window.open(street.at(path))
        assert browser_window.ask("document.querySelectorAll('img, iframe, object, main script').length") == 0
        assert browser_window.ask("document.title") != "1"
        shown = browser_window.ask("document.querySelector('main').textContent")
        assert HOSTILE[:20] in shown
        assert "\u202e" not in shown


def test_the_policy_holds_what_it_promises(street: Street, browser_window: Browser) -> None:
    browser_window.open(street.at("/"))
    browser_window.ask(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'hit = 1'}))"
    )
    assert browser_window.ask("typeof hit") == "undefined"
    foreign = "fetch('http://localhost:1/').then(() => 'reached', (error) => error.name)"
    assert browser_window.ask(foreign) == "TypeError"
    assert all("Content Security Policy" in complaint for complaint in browser_window.complaints)
    assert len(browser_window.complaints) >= 2
    browser_window.complaints.clear()
