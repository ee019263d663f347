"""The points at which the agent is killed (doomed.py has them), and by which request each is passed."""

from __future__ import annotations

from collections.abc import Iterator

# Strategy → the phases by which a release goes live; and the request that takes the way back, and its phases.
_IN_PLACE = ("swap", "restart", "health")
_LIVE = {
    "restart": _IN_PLACE,
    "reload": _IN_PLACE,
    "handover": ("start", "beside", "swap", "withdraw", "health"),
}
_ILL = {"restart": "crash", "reload": "crash", "handover": "ill"}
_BACK_IN_PLACE = ("back-swap", "back-restart", "back-health")
_BACK = {
    "restart": _BACK_IN_PLACE,
    "reload": _BACK_IN_PLACE,
    "handover": ("back-start", "back-withdraw", "back-health"),
}
# What takes long enough to be in the midst of.
_LONG_IN_PLACE = ("extract", "hooks", "trial", "restart", "after-live")
_LONG = {
    "restart": _LONG_IN_PLACE,
    "reload": _LONG_IN_PLACE,
    "handover": ("extract", "hooks", "trial", "start", "beside", "withdraw", "after-live"),
}

_OF_A_DEPLOY = (
    "begun",
    "staging made",
    "release flushed",
    "release not renamed",
    "release renamed",
    "link made",
    "link renamed",
    "release set aside",
    "verdict not committed",
    "verdict committed",
    "result not written",
    "result written",
    "request consumed",
    "pruned not cleared",
    "pruned cleared",
    "work taken down",
    "verdict reported",
    "upload not deleted",
    "upload deleted",
)
# What fails beside the app, and the request that has it fail.
_REFUSED = {"hooks": "unhooked", "trial": "unfit"}
_OF_A_ROLLBACK = (
    "before swap",
    "after swap",
    "after health",
    "verdict committed",
    "result written",
    "request consumed",
)


STRATEGIES = tuple(_LIVE)


def _around(*phases: str) -> Iterator[str]:
    for phase in phases:
        yield from (f"before {phase}", f"after {phase}")


def passed_by(strategy: str) -> tuple[tuple[str, str], ...]:
    """Every point, and a kind of request that passes it."""
    good = (
        *_around("preflight", "extract", "link", "hooks", "trial", *_LIVE[strategy], "after-live", "prune"),
        *(f"during {phase}" for phase in _LONG[strategy]),
        *_OF_A_DEPLOY,
    )
    back = (*_around(*_BACK[strategy]), "during beside" if strategy == "handover" else "during health")
    return (
        *((point, "good") for point in good),
        *((point, "ill" if point.startswith("during") else _ILL[strategy]) for point in back),
        *((point, "crash") for point in ("verdict committed", "result written")),
        *((f"{when} {phase}", kind) for phase, kind in _REFUSED.items() for when in ("during", "after")),
        *((point, "rollback") for point in _OF_A_ROLLBACK),
    )


def plugs(strategy: str) -> tuple[tuple[str, str], ...]:
    """Where the plug of the machine is pulled: in each phase in which anything has been changed, and what is passed."""
    good = (
        "release flushed",
        "release renamed",
        "during hooks",
        "during trial",
        *(f"after {phase}" for phase in _LIVE[strategy]),
        "result written",
    )
    back = [f"after {phase}" for phase in _BACK[strategy][:2]]
    return (
        *((point, "good") for point in (*good, "link made", "before prune")),
        *((point, _ILL[strategy]) for point in back),
    )
