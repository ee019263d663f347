from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dropdeploy.releases.links import find_leaving, is_leaving

NAMES = [b"a", b"b", b"c"]
PATHS = [b"/".join(parts) for parts in [(x,) for x in NAMES] + [(x, y) for x in NAMES for y in NAMES]]
TARGETS = st.lists(st.sampled_from([*NAMES, b"..", b".."]), min_size=1, max_size=5).map(b"/".join)


def test_by_letters() -> None:
    assert is_leaving(b"", b"..")
    assert is_leaving(b"", b"/a")
    assert is_leaving(b"a/b", b"../../..")
    assert is_leaving(b"", b"a/../../b")
    assert not is_leaving(b"a/b", b"../../c")
    assert not is_leaving(b"", b"./a//b/../../c")


def test_a_long_chain_is_followed_to_its_end() -> None:
    links = {b"%d" % number: b"%d" % (number + 1) for number in range(5000)}
    assert find_leaving(links) is None
    assert find_leaving({**links, b"5000": b"d/../..", b"d": b"."}) is not None


def test_circles_lead_nowhere() -> None:
    assert find_leaving({b"a": b"b/../..", b"b": b"c", b"c": b"b"}) is None
    assert find_leaving({b"a": b"a"}) is None


def test_an_absolute_target_leaves() -> None:
    assert find_leaving({b"a": b"b", b"b": b"/"}) == b"b"


def test_what_will_lead_out_by_the_administrators_will() -> None:
    beyond = (b"uploads", b"config/secrets.yml")
    assert find_leaving({b"public/u": b"../uploads/pictures"}, beyond) is None
    assert find_leaving({b"public/s": b"../config/secrets.yml"}, beyond) is None
    assert find_leaving({b"public/u": b"../uploads/../x"}, beyond) == b"public/u"
    assert find_leaving({b"public/u": b"../config/../x"}, beyond) is None
    # A link in a shared entry's place makes way for it, and what it was plays no part.
    assert find_leaving({b"uploads": b"d/../..", b"d": b"."}, beyond) is None
    assert find_leaving({b"x": b"uploads/..", b"uploads": b"a/b"}, beyond) == b"x"


@given(st.dictionaries(st.sampled_from(PATHS), TARGETS, min_size=1, max_size=6))
@example({b"a": b"b/..", b"b": b"."})
@settings(max_examples=120, deadline=None)
def test_what_passes_stays_inside_for_the_kernel(links: dict[bytes, bytes]) -> None:
    # What is below a link cannot be made.
    links = {path: target for path, target in links.items() if path.rpartition(b"/")[0] not in links}
    if any(is_leaving(path.rpartition(b"/")[0], target) for path, target in links.items()):
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve() / "p" / "root"
        for name in NAMES:
            if name not in links:
                (root / os.fsdecode(name)).mkdir(parents=True)
                for inner in NAMES:
                    if name + b"/" + inner not in links:
                        (root / os.fsdecode(name + b"/" + inner)).mkdir()
        root.mkdir(parents=True, exist_ok=True)
        for path, target in links.items():
            os.symlink(target, os.fsencode(root) + b"/" + path)
        leaving = [path for path in links if _leaves(root, path)]
        if find_leaving(links) is None:
            assert not leaving


def _leaves(root: Path, link: bytes) -> bool:
    """Whether the kernel, resolving ``link`` step by step, is ever outside of ``root``."""
    directory = os.path.dirname(os.fsencode(root) + b"/" + link)
    parts = os.readlink(os.fsencode(root) + b"/" + link).split(b"/")
    for count in range(1, len(parts) + 1):
        try:
            reached = os.path.realpath(directory + b"/" + b"/".join(parts[:count]), strict=True)
        except OSError:
            return False
        if not (reached + b"/").startswith(os.fsencode(root) + b"/"):
            return True
    return False
