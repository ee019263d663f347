"""The kinds of entries in the agent's journal, and the fields they carry (systemd.journal-fields(7)).

A contract with those who search and alert: ``journalctl DROPDEPLOY_APP=myapp``, ``journalctl MESSAGE_ID=…``. What each
kind means is written in packaging/systemd/dropdeploy.catalog, which ``journalctl --catalog`` shows.
"""

from __future__ import annotations

from enum import StrEnum

from dropdeploy.model.outcome import Outcome


class Kind(StrEnum):
    """A kind of entry; the value is its MESSAGE_ID, which never changes."""

    READY = "03f4343e13d24486a62fe5efa0974a55"
    RELOADED = "a04532c911794ef980f57a6170076f3c"
    CONFIGURATION_REFUSED = "2d7b8d0ea7554d799283bd1ed9062208"
    BEGUN = "e9d77a32254343dc83739cac04ce1b57"
    DECIDED = "632d84103ef64dfd85909dcab5a9ef8f"
    POSTPONED = "1ad144f5ee714242b830f4c118f2a66d"
    INTERRUPTED = "378fbf74c857413eb9c44235c2029310"
    SETTLED = "0d5c1f0e7b0c4d6c9a4a3f6f0f4e2b71"
    CANCELLING = "795f86cc559548c29861d8f0e6dc59de"
    TROUBLE = "5c2a2944a332405d9e48cf9837fd3149"
    TROUBLE_IS_OVER = "d339bdd2ab6c476f897b2662727c5c8c"
    NOTICE_FAILED = "196910324b9648e2bd6ac39ff9bafddc"
    NOTICE_GIVEN_UP = "2f73b8e7af444066a0430e80ef0163a5"
    NOTICE_SENT_AT_LAST = "a505f56299d74fa6bde0ffe43d4e16b5"
    DEFECT = "e15b69f21c89469198f7753a43070920"


def about(kind: Kind, app: str = "", deploy: int | None = None, **more: str) -> dict[str, str]:
    """What a log call passes as ``extra``: the fields of its entry. ``more`` are other fields, by their short names."""
    fields = {"APP": app, "ID": "" if deploy is None else str(deploy)}
    fields |= {name.upper(): value for name, value in more.items()}
    return {"MESSAGE_ID": kind.value} | {f"DROPDEPLOY_{name}": value for name, value in fields.items() if value}


def about_outcome(kind: Kind, outcome: Outcome) -> dict[str, str]:
    """The same with all that a verdict says in a word."""
    return about(
        kind,
        outcome.app,
        outcome.id,
        action=outcome.action,
        status=outcome.status,
        upload=outcome.upload,
        release=outcome.release,
        error=outcome.fault.code if outcome.fault else "",
    )
