"""``dropdeploy init`` for every kind of app and every strategy: prepared, uploaded, live, checked, taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.box.builds import check_out
from tests.box.machine import Box
from tests.box.server import Server, Site

# An app of tests/box/apps (or contrib's own example), the kind of its units, the strategy.
CASES = (
    ("flask", "gunicorn", "reload"),
    ("starlette", "uvicorn", "handover"),
    ("python", "python", "restart"),
    ("program", "program", "handover"),
)
# One each: what fails leaves its port in use.
PORTS = {app: 4000 + number for number, (app, _, _) in enumerate(CASES)}


@pytest.fixture(scope="module")
def box(new_box: Callable[[], Box]) -> Iterator[Box]:
    """A server with dropdeploy and no app; the laptop's key is at hand, and the files in which accounts are kept have
    copies of before."""
    box = new_box()
    Server(box)
    box.run("cp", "/home/laptop/.ssh/id_ed25519.pub", "/root/ada.pub")
    box.run("sh", "-c", "useradd --system once && userdel once")
    # What init does for a dropdeploy that no package has installed is not taken back by the last app's --undo only.
    box.run("systemctl", "enable", "--quiet", "--now", "dropdeploy.service")
    yield box
    box.crash()


def present(box: Box) -> list[str]:
    state = "-not -name 'history.db*' -not -name roster"
    find = f"find /etc /home /srv /var/lib/dropdeploy -not -path '/home/laptop*' {state} | sort"
    return box.run("sh", "-c", f"{find}; getent passwd; getent group").out.splitlines()


@pytest.mark.parametrize(("app", "kind", "strategy"), CASES, ids=[f"{kind}-{strategy}" for _, kind, strategy in CASES])
def test_from_nothing_to_live_and_back(box: Box, app: str, kind: str, strategy: str) -> None:
    before, port = present(box), PORTS[app]
    site = Site(box, app)
    options = ["--units", kind, "--strategy", strategy, "--port", str(port), "--key", "/root/ada.pub"]
    options += ["--health", "/health"] if app not in ("python", "program") else []
    box.run("dropdeploy", "init", app, *options, timeout_s=120)
    checkout = check_out(box, app, app)
    for version in ("v1",) if strategy == "restart" else ("v1", "v2"):
        archive = checkout.pack("build.tar.gz", version)
        site.sftp("-rm build.tar.gz.result.toml", f"put {archive}")
        result = site.result("build.tar.gz")
        assert result["status"] == "deployed", result
        answer = box.run("curl", "-fsS", f"http://127.0.0.1:{port}/").out
        assert version in answer or result["release"] in answer  # the examples know nothing else of themselves
    checked = box.run("dropdeploy", "check", check=False)
    assert (checked.code, re.findall(r"^(?:warn|FAIL).*", checked.out, re.MULTILINE)) == (0, []), checked
    # What was deployed is nobody's but the administrator's to remove.
    told = box.run("dropdeploy", "init", app, "--undo", timeout_s=120).out
    assert f"/home/{app}/ (dropdeploy:{app} 2750) stays" in told
    box.run("sh", "-c", f"rm -rf /home/{app}/app /home/{app}/releases /srv/drop/{app}/*")
    told = box.run("dropdeploy", "init", app, "--undo", timeout_s=120).out
    assert " stays" not in told
    assert present(box) == before
    assert box.run("sh", "-c", f"systemctl list-units --all --plain --no-legend '{app}*'").out == ""


@pytest.mark.parametrize("kind", ["node", "uvicorn", "python", "program"])
def test_what_cannot_be_reloaded_is_refused(box: Box, kind: str) -> None:
    options = ("--units", kind, "--strategy", "reload", "--port", "4000")
    refused = box.run("dropdeploy", "init", "shop", *options, check=False)
    assert refused.code == 2
    assert refused.err == f"--units {kind} cannot be reloaded, only gunicorn can: choose another --strategy\n"
