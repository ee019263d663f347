"""The points at which the agent is killed (doomed.py has them), and by which request each is passed."""

from __future__ import annotations

_FORWARD = ("preflight", "extract", "link", "swap", "restart", "health", "prune")
_BACK = ("back-swap", "back-restart", "back-health")

GOOD = (
    "begun",
    *(f"{when} {phase}" for phase in _FORWARD for when in ("before", "after")),
    "during extract",
    "during restart",
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
BACK = (*(f"{when} {phase}" for phase in _BACK for when in ("before", "after")), "during back-restart")
ROLLBACK = ("before swap", "after swap", "after health", "verdict committed", "result written", "request consumed")

# Point → the kind of request that passes it.
PASSED_BY: tuple[tuple[str, str], ...] = (
    *((point, "good") for point in GOOD),
    *((point, "crash") for point in (*BACK, "verdict committed", "result written")),
    *((point, "rollback") for point in ROLLBACK),
    ("during health", "ill"),
)

# Where the plug of the machine is pulled.
PLUGS = (
    "release flushed",
    "release renamed",
    "link made",
    "link renamed",
    "before health",
    "after health",
    "result written",
)
PLUGS_BACK = ("before back-swap", "after back-swap", "after back-restart")
