"""Which releases to prune.   (pure)"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def choose(
    releases: Sequence[str], healthy: Mapping[str, bool | None], live: str, running: Collection[str], keep: int
) -> tuple[str, ...]:
    """The releases to remove, in ascending order.

    ``releases`` are ids in ascending order, ``healthy`` what is known of them: a release of which nothing is known
    (None or missing: the history was lost) counts as healthy. Kept are the newest ``keep`` healthy ones, the
    live one, the newest healthy one that is not live, those in ``running``, and of those that failed the newest.
    A failed release takes no healthy one's place.
    """
    good = [release for release in releases if healthy.get(release) is not False]
    failed = [release for release in releases if healthy.get(release) is False]
    kept = {live, *running, *good[len(good) - min(keep, len(good)) :], *failed[-1:]}
    kept.update([release for release in good if release != live][-1:])
    return tuple(release for release in releases if release not in kept)
