from __future__ import annotations

from dropdeploy.cli.programs import Told, tell


def test_what_it_reads_and_what_it_says() -> None:
    assert tell("sh", "-c", "cat; echo no >&2; exit 3", given="yes") == Told(3, "yes", "no\n")


def test_one_that_is_not_there() -> None:
    assert tell("no-such-program") == Told(127, "", "no-such-program is not installed")


def test_one_that_does_not_end() -> None:
    assert tell("sleep", "1000", timeout_s=0.1) == Told(124, "", "sleep did not end within 0.1 s")
