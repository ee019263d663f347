"""Files in a directory where others may write too."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.report.dropfiles import (
    deploying_name,
    remove,
    remove_leftovers,
    result_name,
    write_atomically,
)

# --- names ---------------------------------------------------------------------------------------------


def test_names_stand_beside_the_upload() -> None:
    assert result_name("build.tar.gz") == "build.tar.gz.result.toml"
    assert deploying_name("rollback") == "rollback.deploying"


@pytest.mark.parametrize("upload", ["a" * 255, "é" * 127, "日" * 85, "x" + "日" * 84, "👍" * 63, "\udcff" * 255])
def test_names_that_would_be_too_long_are_shortened(upload: str, tmp_path: Path) -> None:
    for name_for, ending in ((result_name, ".result.toml"), (deploying_name, ".deploying")):
        name = name_for(upload)
        assert name == name_for(upload)
        assert 250 < len(os.fsencode(name)) <= 255
        assert name.endswith(ending)
        stem, _, mark = name.removesuffix(ending).rpartition("~")
        assert upload.startswith(stem), "not cut within a character"
        assert len(mark) == 8
        (tmp_path / name).touch()


def test_shortened_names_differ_where_the_uploads_do() -> None:
    assert result_name("a" * 250 + "1") != result_name("a" * 250 + "2")


def test_the_longest_name_that_fits_is_left_alone() -> None:
    assert result_name("a" * 243) == "a" * 243 + ".result.toml"
    assert "~" in result_name("a" * 244)


# --- writing -------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "descriptor"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | int]:
    if request.param == "path":
        yield tmp_path
        return
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_what_is_written_is_all_that_is_there(directory: Path | int, tmp_path: Path) -> None:
    assert write_atomically(directory, "a.result.toml", "größe\n") is None
    assert write_atomically(directory, "a.result.toml", "two\n", is_durable=False) is None
    assert (tmp_path / "a.result.toml").read_text() == "two\n"
    assert os.listdir(tmp_path) == ["a.result.toml"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_everybody_may_read_it_whatever_the_umask_is(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        assert write_atomically(tmp_path, "status.toml", "") is None
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "status.toml").stat().st_mode) == 0o644


def test_a_link_that_was_planted_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    drop = tmp_path / "drop"
    drop.mkdir()
    for name, make in (("soft", os.symlink), ("hard", os.link)):
        make(victim, drop / name)
        assert write_atomically(drop, name, "mine") is None
        assert (drop / name).read_text() == "mine"
        assert not (drop / name).is_symlink()
    (drop / "dangling").symlink_to(tmp_path / "made")
    assert write_atomically(drop, "dangling", "mine") is None
    assert not (tmp_path / "made").exists()
    assert victim.read_text() == "precious"


def test_a_directory_in_its_place_is_a_fault_that_says_so(directory: Path | int, tmp_path: Path) -> None:
    (tmp_path / "a.result.toml" / "x").mkdir(parents=True)
    fault = write_atomically(directory, "a.result.toml", "text")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.INTERNAL
    assert fault.message.startswith("a.result.toml")
    assert fault.message.endswith(" cannot be written: Is a directory")
    assert fault.hint.startswith("a directory stands under this name")
    assert os.listdir(tmp_path) == ["a.result.toml"], "no temporary file is left"


def test_a_directory_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    fault = write_atomically(tmp_path / "gone", "status.toml", "")
    assert fault is not None
    assert fault.message == f"status.toml in {tmp_path}/gone cannot be written: No such file or directory"


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a write as a full disk does; a process of its own has it."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from dropdeploy.report.dropfiles import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "print(write_atomically(Path(sys.argv[1]), 'status.toml', 'x' * 1000).message)\n"
    )
    write_atomically(tmp_path, "status.toml", "old")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"status.toml in {tmp_path} cannot be written: File too large"
    assert (tmp_path / "status.toml").read_text() == "old"
    assert os.listdir(tmp_path) == ["status.toml"]


def test_a_directory_that_takes_no_files_is_not_authorised() -> None:
    """Not even root may make files in sysfs."""
    fault = write_atomically(Path("/sys"), "status.toml", "")
    assert fault is not None
    assert fault.code is ErrorCode.NOT_AUTHORISED
    assert "the agent's user must be able to write there" in fault.hint


def test_whoever_reads_meanwhile_sees_the_old_or_the_new_whole(tmp_path: Path) -> None:
    texts = {letter * 100_000 for letter in "ab"}
    write_atomically(tmp_path, "status.toml", "a" * 100_000)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for text in texts:
                write_atomically(tmp_path, "status.toml", text, is_durable=False)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(300):
            assert (tmp_path / "status.toml").read_text() in texts
    finally:
        stop.set()
        writer.join()


def test_text_that_is_no_utf_8_is_written_all_the_same(tmp_path: Path) -> None:
    assert write_atomically(tmp_path, "a", "x\udcffy") is None
    assert (tmp_path / "a").read_text() == "x?y"


# --- removing ------------------------------------------------------------------------------------------


def test_remove(directory: Path | int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "target").touch()
    (tmp_path / "directory").mkdir()
    assert remove(directory, "file") is None
    assert remove(directory, "file") is None, "that there is none is no fault"
    assert remove(directory, "link") is None
    fault = remove(directory, "directory")
    assert fault is not None
    assert fault.hint.startswith("a directory stands under this name")
    assert sorted(os.listdir(tmp_path)) == ["directory", "target"]


def test_leftovers_of_a_crash_are_removed_and_nothing_else(directory: Path | int, tmp_path: Path) -> None:
    kept = {".dropdeploy-x.tmp", "build.tar.gz", ".dropdeploy-0123456789abcdef.tmp.zip"}
    for name in (*kept, ".dropdeploy-0123456789abcdef.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".dropdeploy-0123456789abcde0.tmp").mkdir()
    remove_leftovers(directory)
    assert set(os.listdir(tmp_path)) == kept | {".dropdeploy-0123456789abcde0.tmp"}
    remove_leftovers(tmp_path / "gone")
