from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases.swap import is_blocked, live_release, remove_leftover, swap_link, unlink_link

OLD, NEW = "20260101-000000", "20260102-000000"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    for release in (OLD, NEW):
        (tmp_path / "releases" / release).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def root(app: Path) -> Iterator[int]:
    fd = os.open(app, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_first_swap_next_swap_and_again(app: Path, root: int) -> None:
    assert live_release(root) == ""
    for release in (OLD, NEW, NEW, OLD):
        assert swap_link(root, str(app), release) is None
        assert (app / "app").readlink() == Path("releases") / release
        assert live_release(root) == release
    remove_leftover(root)
    assert sorted(path.name for path in app.iterdir()) == ["app", "releases"]


def test_the_way_back_needs_no_new_link(app: Path, root: int) -> None:
    swap_link(root, str(app), OLD)
    swap_link(root, str(app), NEW)
    spare = os.lstat(app / ".app.swap").st_ino
    assert (app / ".app.swap").readlink() == Path("releases") / OLD
    assert swap_link(root, str(app), OLD) is None
    assert os.lstat(app / "app").st_ino == spare
    assert live_release(root) == OLD


def test_the_link_is_there_at_every_instant(app: Path, root: int) -> None:
    swap_link(root, str(app), OLD)
    done = threading.Event()
    seen: set[str] = set()

    def look() -> None:
        while not done.is_set():
            seen.add(Path(os.path.realpath(app / "app", strict=True)).name)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(100):
        swap_link(root, str(app), NEW)
        swap_link(root, str(app), OLD)
    done.set()
    thread.join()
    assert seen <= {OLD, NEW}


def test_a_release_that_is_none(app: Path, root: int) -> None:
    (app / "releases/20260103-000000").write_text("a file")
    (app / "releases/20260104-000000").symlink_to(OLD)
    for release in ("20260105-000000", "20260103-000000", "20260104-000000"):
        fault = swap_link(root, str(app), release)
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.NO_SUCH_RELEASE
        assert fault.message == f"there is no release {release} in {app}/releases"
    assert not (app / "app").exists()


@pytest.mark.parametrize("kind", ["directory", "full directory", "file"])
def test_something_else_in_the_links_place_is_not_touched(kind: str, app: Path, root: int) -> None:
    if kind == "file":
        (app / "app").write_text("kept")
    else:
        (app / "app").mkdir()
        if kind == "full directory":
            (app / "app/kept").touch()
    assert is_blocked(root)
    for fault in (swap_link(root, str(app), NEW), unlink_link(root, str(app))):
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.APP_PATH_BLOCKED
        assert fault.message.startswith(f"{app}/app is not a symbolic link")
    assert not (app / "app").is_symlink()
    assert (app / "app").exists()
    assert sorted(path.name for path in app.iterdir()) == ["app", "releases"]


def test_a_leftover_of_a_crash(app: Path, root: int) -> None:
    (app / ".app.swap").symlink_to("releases/nowhere")
    assert swap_link(root, str(app), NEW) is None
    (app / ".app.swap").symlink_to("releases/nowhere")
    remove_leftover(root)
    assert sorted(path.name for path in app.iterdir()) == ["app", "releases"]


def test_unlink(app: Path, root: int) -> None:
    assert unlink_link(root, str(app)) is None
    swap_link(root, str(app), NEW)
    assert unlink_link(root, str(app)) is None
    assert not (app / "app").is_symlink()
    assert live_release(root) == ""


def test_links_made_by_hand(app: Path, root: int, tmp_path: Path) -> None:
    for target, live in [
        (f"releases/{OLD}/", OLD),
        (f"./releases/{OLD}", OLD),
        (f"{tmp_path}/releases/{OLD}", OLD),
        ("releases/gone", "gone"),
        ("releases/..", ""),
        ("releases/", ""),
        ("elsewhere", ""),
        ("/var/www/html", ""),
        ("/nowhere/at/all", ""),
    ]:
        (app / "app").unlink(missing_ok=True)
        (app / "app").symlink_to(target)
        assert live_release(root) == live, target
        assert not is_blocked(root)
    assert swap_link(root, str(app), NEW) is None
    assert live_release(root) == NEW
