"""What is going on with an app: the step, how far it is, and what waits.   (pure)"""

from __future__ import annotations

from dropdeploy.report.page.frame import deploy_link
from dropdeploy.report.page.html import Html, join, tag
from dropdeploy.report.page.words import WORKING, Badge, Tone
from dropdeploy.report.status import AppNow, Progress


def progress_bar(progress: Progress, app: str = "") -> Html:
    """The work and its step, with a bar where it is known how far that is. With ``app`` it leads to its page."""
    what = f"{WORKING[progress.action]} {progress.request}: {progress.step}"
    percent = None if progress.percent is None else int(min(max(progress.percent, 0), 100))
    return join(
        tag(
            "p",
            Badge(WORKING[progress.action], Tone.BUSY).html(),
            " ",
            deploy_link(app, progress.deploy) if app else None,
            " ",
            tag("span", progress.request, class_="name"),
            ": ",
            tag("b", progress.step),
            f" {percent} %" if percent is not None else None,
        ),
        tag("progress", f"{percent} %" if percent is not None else "", max=100, value=percent, aria_label=what),
    )


def doing(now: AppNow) -> Html:
    """Hold and queue, if there is any of it."""
    waiting = ", ".join(now.queue[:5]) + (", …" if len(now.queue) > 5 else "")
    return join(
        Badge("on hold", Tone.WARN).html() if now.is_held else None,
        join(Badge(f"{len(now.queue)} waiting", Tone.QUIET).html(), " ", tag("span", waiting, class_="name"))
        if now.queue
        else None,
        by=" ",
    )
