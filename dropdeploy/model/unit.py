"""Units and their processes, in systemd's words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd knows it (org.freedesktop.systemd1(5)); the embedded supervisor uses the same words.

    ``invocation_id`` is 32 hex digits, empty while the unit has never run; ``restarts`` is NRestarts,
    ``main_pid`` 0 when there is none, ``result`` the service's Result ("success", "exit-code", …); ``user`` is its
    User=, empty where it has none, "*" where it has one of its own (DynamicUser=). ``can_reload``: it has something
    like an ExecReload=.
    """

    unit: str
    load_state: str = "loaded"
    active_state: str = "inactive"
    sub_state: str = "dead"
    invocation_id: str = ""
    restarts: int = 0
    main_pid: int = 0
    result: str = "success"
    user: str = ""
    can_reload: bool = True

    @property
    def is_running(self) -> bool:
        """Active, and not merely on the way there or back."""
        return self.active_state == "active" and self.sub_state in ("running", "exited")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a unit. ``releases`` are those that its working directory and executable are in: none, or nothing
    is known, as of other users' processes."""

    pid: int
    releases: frozenset[str] = frozenset()
