"""The manual's tables say what the configuration's own say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from dropdeploy import __version__
from dropdeploy.config.keys import APP, SETTINGS, Table
from dropdeploy.config.parse import SourceText, parse_config
from dropdeploy.model.config import Config, Settings
from dropdeploy.model.fault import ErrorCode
from dropdeploy.model.outcome import Status

ROOT = Path(__file__).resolve().parents[3]
MANUAL = ROOT / "packaging/man"
_ITEM = re.compile(r"^\.It Li (?P<key>\w+)(?P<value> = .*)?$")


def keys_of(table: Table, prefix: str = "") -> set[str]:
    keys = set()
    for name, key in table.keys.items():
        keys |= keys_of(key, f"{name}.") if isinstance(key, Table) else {prefix + name}
    return keys


def shown_keys(page: str) -> tuple[set[str], str]:
    """The keys of a page, dotted, and the TOML that its items make."""
    table, keys, toml = "", set(), ""
    for line in (MANUAL / page).read_text().splitlines():
        if line.startswith(".Ss ["):
            table = line.removeprefix(".Ss [").removesuffix("]")
            toml += f"[{table}]\n" if table != "embedded" else ""
        if item := _ITEM.match(line):
            keys.add(f"{table}.{item['key']}" if table else item["key"])
            if item["value"] and table != "embedded":
                toml += f"{item['key']}{item['value']}\n".replace(r"\(dq", '"').replace(r"\-", "-")
    return keys, toml


@pytest.mark.parametrize(("page", "table"), [("dropdeploy.toml.5.in", SETTINGS), ("dropdeploy-app.toml.5.in", APP)])
def test_every_key_is_explained_and_no_other(page: str, table: Table) -> None:
    assert shown_keys(page)[0] == keys_of(table)


def test_the_defaults_that_are_told_are_the_defaults() -> None:
    settings = shown_keys("dropdeploy.toml.5.in")[1]
    app = shown_keys("dropdeploy-app.toml.5.in")[1]
    told = parse_config(SourceText("dropdeploy.toml", settings), [SourceText("apps.d/myapp.toml", app)])
    untold = parse_config(None, [SourceText("apps.d/myapp.toml", "")])
    assert isinstance(told, Config), told
    assert told == untold
    assert told.settings == Settings()


def test_the_protocols_page_knows_every_verdict() -> None:
    page = (MANUAL / "dropdeploy.7.in").read_text()
    assert all(status.value in page for status in Status)


def test_the_protocols_page_explains_every_code_and_no_other() -> None:
    _, _, section = (MANUAL / "dropdeploy.7.in").read_text().partition(".Ss Error codes\n")
    items = re.findall(r"^\.It Li (.+)$", section.partition(".El\n")[0], re.MULTILINE)
    codes = [code for item in items for code in item.replace(r"\-", "-").split(" , ")]
    assert codes == [code.value for code in ErrorCode]


def test_the_pages_are_rendered(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("render", MANUAL / "render.py")
    assert spec is not None
    assert spec.loader is not None
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    render.main(tmp_path)
    pages = {page.name: page.read_text() for page in tmp_path.iterdir()}
    names = {"dropdeploy.1", "dropdeploy-push.1", "dropdeploy.7", "dropdeploy.toml.5", "dropdeploy-app.toml.5"}
    assert set(pages) == names
    for page in pages.values():
        assert f".Os dropdeploy {__version__}\n" in page
        assert not re.search(r"@[A-Z]+@", page)
    assert ".It Ic rollback Ar APP Op Ar RELEASE\n" in pages["dropdeploy.1"]


def test_the_example_is_an_app() -> None:
    example = (ROOT / "packaging/examples/myapp.toml").read_text()
    assert isinstance(parse_config(None, [SourceText("apps.d/myapp.toml", example)]), Config)


def test_the_packages_version_is_the_programs() -> None:
    changelog = (ROOT / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"dropdeploy ({__version__}) ")
