"""Why something did not succeed.   (pure)"""

from __future__ import annotations

from dropdeploy.model.outcome import Outcome
from dropdeploy.report.harmless import end_of_log, one_line
from dropdeploy.report.page.html import EMPTY, Html, join, tag


def fault_box(outcome: Outcome, *, has_log: bool) -> Html:
    """The message, what to do, and the log's end."""
    fault = outcome.fault
    if fault is None:
        return EMPTY
    step = f" in step {outcome.fault_step.value}" if outcome.fault_step else ""
    return join(
        tag("p", one_line(fault.message), class_="message"),
        tag("p", tag("code", fault.code.value, class_="code"), step, class_="small"),
        tag("p", tag("b", "What to do: "), one_line(fault.hint)) if fault.hint else None,
        log_box(fault.log) if has_log and fault.log else None,
    )


def log_box(log: str) -> Html:
    """The unit's last lines. What scrolls must be reachable by keyboard, and have a name."""
    return tag(
        "figure",
        tag("figcaption", "The last lines of its log"),
        tag("pre", end_of_log(log), tabindex=0, role="region", aria_label="The last lines of its log"),
    )
