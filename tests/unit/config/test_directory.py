"""The configuration directory, with real files."""

import os
from pathlib import Path

import pytest

from dropdeploy.config.directory import MAX_FILE_BYTES, check_paths, read_config
from dropdeploy.config.parse import Mistake
from dropdeploy.model.config import Config


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    (directory / "apps.d").mkdir(parents=True)
    return directory


def told(result: Config | tuple[Mistake, ...], base: Path) -> list[str]:
    assert isinstance(result, tuple), result
    return [str(mistake).replace(f"{base}/", "") for mistake in result]


def read(etc: Path) -> Config:
    config = read_config(etc)
    assert isinstance(config, Config), config
    return config


def test_main_file_and_apps(etc: Path) -> None:
    (etc / "dropdeploy.toml").write_text('drop = "/in"')
    (etc / "apps.d/b.toml").write_text("")
    (etc / "apps.d/a.toml").write_text("keep = 3")
    config = read(etc)
    assert [(app.name, app.keep, str(app.drop)) for app in config.apps] == [("a", 3, "/in/a"), ("b", 5, "/in/b")]


def test_the_main_file_may_be_absent_and_there_may_be_no_apps_yet(etc: Path) -> None:
    assert read(etc).apps == ()


def test_copies_and_hidden_files_are_not_read(etc: Path) -> None:
    for name in ("a.toml~", ".a.toml", ".a.toml.swp", "a.toml.dpkg-dist", "README"):
        (etc / "apps.d" / name).write_text("nonsense")
    assert read(etc).apps == ()


def test_a_link_to_an_app_file_is_followed(etc: Path) -> None:
    (etc / "elsewhere").write_text("keep = 3")
    (etc / "apps.d/a.toml").symlink_to("../elsewhere")
    assert read(etc).apps[0].keep == 3


def test_a_missing_directory_says_what_to_create(tmp_path: Path) -> None:
    assert told(read_config(tmp_path / "etc"), tmp_path) == [
        "etc: there is no such directory; create etc/apps.d with one file for each app, <app>.toml"
    ]


def test_missing_apps_directory_and_what_is_wrong_beside_it(tmp_path: Path) -> None:
    (tmp_path / "dropdeploy.toml").write_text("keep = 3")
    wrong = told(read_config(tmp_path), tmp_path)
    assert wrong[0] == "apps.d: there is no such directory; create apps.d with one file for each app, <app>.toml"
    assert wrong[1].startswith("dropdeploy.toml: keep = 3: unknown key here")


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "apps.d").write_text("")
    assert told(read_config(tmp_path), tmp_path)[0].startswith("apps.d: expected a directory")
    (tmp_path / "etc").write_text("")
    assert told(read_config(tmp_path / "etc"), tmp_path)[0].startswith("etc: expected a directory")


def test_files_that_cannot_be_read_are_mistakes_beside_the_others(etc: Path) -> None:
    apps = etc / "apps.d"
    os.mkfifo(apps / "fifo.toml")
    (apps / "directory.toml").mkdir()
    (apps / "gone.toml").symlink_to("nowhere")
    (apps / "latin.toml").write_bytes(b"keep = 3\n# gr\xfc\xdfe\n")
    (apps / "huge.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (apps / "keep.toml").write_text("keep = 0")
    (etc / "dropdeploy.toml").symlink_to("dropdeploy.toml")
    assert told(read_config(etc), etc) == [
        "dropdeploy.toml: cannot be read: Too many levels of symbolic links",
        "apps.d/directory.toml: expected a regular file, but it is none",
        "apps.d/fifo.toml: expected a regular file, but it is none",
        "apps.d/gone.toml: cannot be read: it is a link that leads nowhere",
        "apps.d/huge.toml: expected at most 1048576 bytes",
        "apps.d/latin.toml: line 2: expected UTF-8, found the byte 0xfc",
        "apps.d/keep.toml: keep = 0: expected a whole number of at least 1",
    ]


# --- the directories that it names ---------------------------------------------------------------------


def add_app(etc: Path, name: str, root: Path, drop: Path) -> None:
    (etc / "apps.d" / f"{name}.toml").write_text(f'root = "{root}"\ndrop = "{drop}"\n')


def check(etc: Path) -> list[str]:
    return told(check_paths(read(etc), etc), etc.parent)


def test_directories_that_are_there_and_apart(etc: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        for part in ("root", "drop"):
            (tmp_path / part / name).mkdir(parents=True)
        add_app(etc, name, tmp_path / "root" / name, tmp_path / "drop" / name)
    assert check(etc) == []


def test_missing_directories_and_files_in_their_place(etc: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    add_app(etc, "a", tmp_path / "gone", tmp_path / "file")
    add_app(etc, "b", tmp_path / "loop", tmp_path / "gone2")
    (tmp_path / "loop").symlink_to("loop")
    assert check(etc) == [
        'etc/apps.d/a.toml: root = "gone": there is no such directory; create it, or name another',
        'etc/apps.d/a.toml: drop = "file": expected a directory, but it is none',
        'etc/apps.d/b.toml: root = "loop": cannot be looked at: Too many levels of symbolic links',
        'etc/apps.d/b.toml: drop = "gone2": there is no such directory; create it, or name another',
    ]


def test_directories_that_are_the_same_through_links(etc: Path, tmp_path: Path) -> None:
    for name in ("a", "drop-a", "drop-b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "drop-c").symlink_to("a")
    add_app(etc, "a", tmp_path / "a", tmp_path / "drop-a")
    add_app(etc, "b", tmp_path / "b", tmp_path / "drop-b")
    (mistake,) = check(etc)
    assert mistake == (
        'etc/apps.d/b.toml: root = "b": leads to a, which is also the root of app "a" (etc/apps.d/a.toml); '
        "each needs one of its own"
    )


def test_a_directory_that_lies_in_another_through_links(etc: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "in").mkdir(parents=True)
    (tmp_path / "drop").symlink_to("a/in")
    add_app(etc, "a", tmp_path / "a", tmp_path / "drop")
    (mistake,) = check(etc)
    assert mistake == (
        'etc/apps.d/a.toml: drop = "drop": leads to a/in, which is inside the root of app "a", a (etc/apps.d/a.toml); '
        "they must lie apart"
    )
