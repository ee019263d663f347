"""What the fuzzer has found so far is replayed: each input that was a finding once, and those that reach furthest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.target import CODES, WAYS, FindingError, judge_release, unpack

CORPUS = Path(__file__).parents[2] / "fuzz/corpus"


@pytest.fixture(autouse=True)
def _umask() -> object:
    old = os.umask(0)
    yield
    os.umask(old)


def test_the_corpus_holds() -> None:
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) > 50
    assert sum(path.stat().st_size for path in inputs) < 128 << 10
    assert {path.read_bytes()[0] % len(WAYS) for path in inputs} == set(range(len(WAYS)))


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_the_corpus_is_unpacked_or_refused(way: int, tmp_path: Path) -> None:
    answers = set()
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        if data[0] % len(WAYS) == way:
            answers.add(unpack(data, tmp_path))
    assert "corrupt-upload" in answers or "truncated-upload" in answers
    assert answers <= CODES | {""}


@pytest.mark.parametrize(("make", "told"), [(("link", "../.."), "leads to"), (("mode", "4755"), "has the mode")])
def test_the_fuzzer_would_see_it(make: tuple[str, str], told: str, tmp_path: Path) -> None:
    kind, value = make
    path = tmp_path / "x"
    if kind == "link":
        path.symlink_to(value)
    else:
        path.touch()
        path.chmod(int(value, 8))
    with pytest.raises(FindingError, match=told):
        judge_release(tmp_path)
