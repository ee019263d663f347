"""A release in the making: the directory into which it is unpacked, which at last gets the release's name."""

from __future__ import annotations

import os

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases import swap
from dropdeploy.releases.group import find_group, grant_group, prepare_group
from dropdeploy.releases.kernel import flush_file_system, rename_new
from dropdeploy.releases.places import STAGING, list_releases, open_places
from dropdeploy.releases.removal import DIRECTORY_FLAGS, remove_entry
from dropdeploy.releases.shared import link_shared


def make_staging(root_name: str, release: str, group: str) -> int:
    """An empty staging directory, whose descriptor is returned; ``releases/`` is made when missing."""
    with open_places(root_name, is_making=True) as places:
        name = STAGING + release
        remove_entry(places.releases, os.fsencode(name))
        os.mkdir(name, 0o700, dir_fd=places.releases)
        staging = os.open(name, DIRECTORY_FLAGS, dir_fd=places.releases)
        try:
            gid = find_group(group, places.root)
            # A group that does not exist, or cannot be set, is the next step's affair.
            prepare_group(staging, gid if isinstance(gid, int) else os.getegid())
        except BaseException:
            os.close(staging)
            raise
        return staging


def finish_staging(root_name: str, release: str, group: str, shared: tuple[str, ...]) -> str | Fault:
    """Link ``shared``, give it to the group, flush it, and name it ``release``. Returns a detail for the step."""
    with open_places(root_name) as places:
        try:
            staging = os.open(STAGING + release, DIRECTORY_FLAGS, dir_fd=places.releases)
        except FileNotFoundError:
            if release in list_releases(places.root):
                return "finished before"
            return Fault(ErrorCode.INTERNAL, f"there is nothing to finish for release {release}", "upload it again")
        try:
            gid = find_group(group, places.root)
            if isinstance(gid, Fault):
                return gid
            fault = link_shared(places.root, root_name, staging, shared, gid)
            if fault is not None:
                return fault
            detail = grant_group(staging, gid, group)
            if isinstance(detail, Fault):
                return detail
            flush_file_system(staging)
        finally:
            os.close(staging)
        try:
            rename_new(places.releases, STAGING + release, release)
        except FileExistsError:
            return Fault(
                ErrorCode.INTERNAL,
                f"{root_name}/{swap.RELEASES}/{release} exists already",
                "remove it, or upload again for a newer release",
            )
        os.fsync(places.releases)
    linked = f"{len(shared)} shared {'entry' if len(shared) == 1 else 'entries'} linked, "
    return (linked if shared else "") + detail
