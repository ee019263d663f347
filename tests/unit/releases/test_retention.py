from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.releases.retention import choose

A, B, C, D, E, F, G = (f"2026010{day}-000000" for day in range(1, 8))
ALL = [A, B, C, D, E, F, G]


def test_the_newest_healthy_ones_are_kept() -> None:
    healthy = dict.fromkeys(ALL, True)
    assert choose(ALL, healthy, G, frozenset(), 5) == (A, B)
    assert choose(ALL, healthy, G, frozenset(), 7) == ()
    assert choose(ALL, healthy, G, frozenset(), 100) == ()


def test_failed_ones_never_push_out_good_ones() -> None:
    healthy = {A: True, B: True, C: False, D: False, E: False, F: False, G: True}
    assert choose(ALL, healthy, G, frozenset(), 3) == (C, D, E)


def test_the_newest_failed_one_is_kept_for_inspection() -> None:
    healthy = {A: False, B: False, C: True, D: True, E: True, F: True, G: True}
    assert choose(ALL, healthy, G, frozenset(), 2) == (A, C, D, E)


def test_the_live_one_is_kept_and_the_way_back_from_it() -> None:
    healthy = dict.fromkeys(ALL, True)
    assert choose(ALL, healthy, A, frozenset(), 1) == (B, C, D, E, F)
    assert choose(ALL, healthy, G, frozenset(), 1) == (A, B, C, D, E)
    assert choose(ALL, healthy, G, frozenset(), 0) == (A, B, C, D, E)
    assert choose(ALL, dict.fromkeys(ALL, False), D, frozenset(), 5) == (A, B, C, E, F)


def test_running_ones_are_kept() -> None:
    assert choose(ALL, dict.fromkeys(ALL, True), G, frozenset([A, C]), 2) == (B, D, E)


def test_what_is_not_known_counts_as_healthy() -> None:
    assert choose(ALL, {}, G, frozenset(), 5) == (A, B)
    assert choose(ALL, dict.fromkeys(ALL), G, frozenset(), 5) == (A, B)


def test_nothing_is_nothing() -> None:
    assert choose([], {}, "", frozenset(), 5) == ()


@given(
    st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans()), max_size=20),
    st.integers(0, 20),
    st.integers(0, 8),
)
def test_every_promise_of_the_specification(kinds: list[tuple[bool | None, bool]], at: int, keep: int) -> None:
    releases = [f"202601{number + 1:02}-000000" for number in range(len(kinds))]
    healthy = {release: kind for release, (kind, _) in zip(releases, kinds, strict=True)}
    running = frozenset(release for release, (_, runs) in zip(releases, kinds, strict=True) if runs)
    live = releases[at] if at < len(releases) else ""
    pruned = choose(releases, healthy, live, running, keep)
    kept = [release for release in releases if release not in pruned]
    good = [release for release in releases if healthy[release] is not False]
    failed = [release for release in releases if healthy[release] is False]

    assert list(pruned) == sorted(set(pruned))
    assert set(pruned) <= set(releases)
    assert live not in pruned
    assert not running & set(pruned)
    assert set(good[max(0, len(good) - keep) :]) <= set(kept)
    assert set([release for release in good if release != live][-1:]) <= set(kept)
    assert set(failed[-1:]) <= set(kept)
    # and no more than that
    reasons = {live, *running, *failed[-1:], *good[max(0, len(good) - max(keep, 1)) :]}
    reasons.update([release for release in good if release != live][-1:])
    assert set(kept) <= reasons
    # Failed ones make no difference to what becomes of good ones.
    assert [r for r in pruned if r in good] == list(choose(good, healthy, live, running, keep))
