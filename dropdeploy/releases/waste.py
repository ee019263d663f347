"""Releases that go: they lose their name first, and their files when there is time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from dropdeploy.releases import swap
from dropdeploy.releases.places import PRUNED, open_places
from dropdeploy.releases.removal import remove_entry


def set_aside(root_name: str, release: str) -> str:
    """Give a release the name of one that goes, from which on it is a release no more; returns why not, if not."""
    name = PRUNED + release
    try:
        with open_places(root_name) as places:
            if swap.live_release(places.root) == release:
                return "it is live"
            remove_entry(places.releases, os.fsencode(name))
            os.rename(release, name, src_dir_fd=places.releases, dst_dir_fd=places.releases)
            os.fsync(places.releases)  # before the first file goes, or a power cut could leave half a release
    except FileNotFoundError:
        return ""
    return ""


def remove_waste(root_name: str, name: str) -> None:
    """Remove what stands under this name in ``releases/``, if anything does. Raises OSError."""
    try:
        with open_places(root_name) as places:
            remove_entry(places.releases, os.fsencode(name))
    except FileNotFoundError:
        return


def clear_waste(root_name: str, is_waste: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Remove all that is waste by its name. Yields the names of what could not be removed, and why."""
    try:
        with open_places(root_name) as places:
            for name in filter(is_waste, os.listdir(places.releases)):
                try:
                    remove_entry(places.releases, os.fsencode(name))
                except OSError as error:
                    yield name, f"could not remove {root_name}/{swap.RELEASES}/{name}: {error.strerror}"
    except FileNotFoundError:
        return
