"""Which release there is to go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dropdeploy.model.fault import ErrorCode, Fault

_LISTED = 8


def newest_healthy(releases: Sequence[str], health: Mapping[str, bool | None], *, before: str = "") -> str:
    """The newest release that is not known to be ill, older than ``before`` if that is given; "" if there is none.

    ``releases`` are ids in ascending order. What was never judged (the history was lost) counts as healthy.
    """
    fit = [id for id in releases if health.get(id) is not False and (not before or id < before)]
    return fit[-1] if fit else ""


def find_target(wanted: str, releases: Sequence[str], health: Mapping[str, bool | None], live: str) -> str | Fault:
    """The release that a rollback goes to. ``wanted`` is an id, or "" for the newest healthy one before the live."""
    others = [id for id in releases if id != live]
    there_are = f"there are {', '.join(reversed(others[-_LISTED:]))}" if others else "there are no other releases"
    if wanted == live and wanted:
        return Fault(
            ErrorCode.NO_SUCH_RELEASE,
            f"{wanted} is live already; {there_are}",
            "name another release, or upload a file named restart to restart this one",
        )
    if wanted:
        if wanted in releases:
            return wanted
        return Fault(
            ErrorCode.NO_SUCH_RELEASE,
            f"there is no release {wanted[:80]!r}; {there_are}",
            "write one of these ids into the rollback file, or leave it empty for the newest healthy one"
            if others
            else "upload a build",
        )
    target = newest_healthy(releases, health, before=live)
    if target:
        return target
    return Fault(
        ErrorCode.NOTHING_TO_ROLL_BACK_TO,
        f"no healthy release is older than {live}; {there_are}" if live else "nothing is live, and nothing was before",
        "upload a build, or write the id of a release into the rollback file",
    )
