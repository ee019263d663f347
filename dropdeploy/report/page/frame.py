"""What all pages have around them.   (pure)"""

from __future__ import annotations

from dataclasses import dataclass

from dropdeploy.report.page.html import Html, join, tag


@dataclass(frozen=True, slots=True)
class Frame:
    """``host`` is the server's name; ``style``, ``script`` and ``icon`` are addresses."""

    host: str
    style: str
    script: str
    icon: str


def document(frame: Frame, title: str, *contents: Html | str | None, trail: tuple[Html, ...] = ()) -> Html:
    """A whole page. ``trail`` is the way from the overview to here; the script replaces what is in ``main``."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href=frame.icon, type="image/svg+xml"),
        tag("link", rel="stylesheet", href=frame.style),
        tag("script", src=frame.script, defer=True),
    )
    crumbs = [tag("a", "dropdeploy", tag("span", f" on {frame.host}", class_="host"), href="/"), *trail]
    body = tag(
        "body",
        tag("a", "Skip to the content", class_="skip", href="#main"),
        tag(
            "header",
            tag("nav", tag("ol", *(tag("li", crumb) for crumb in crumbs)), aria_label="Where you are"),
            tag("p", tag("noscript", "Reload to see what is new."), id="link", class_="link"),
        ),
        tag("main", *contents, id="main", tabindex="-1"),
        tag("p", id="said", class_="unseen", role="status"),
    )
    return join(Html("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"))


def facts(*pairs: tuple[str, Html | str | None], class_: str = "facts") -> Html:
    """A list of what is known; what is empty is left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs if value), class_=class_)


def app_link(app: str) -> Html:
    """To an app's page. Its name needs no quoting: the configuration takes no others."""
    return tag("a", app, href=f"/apps/{app}")


def deploy_link(app: str, number: int, shown: str = "") -> Html:
    """To a deploy's page."""
    return tag("a", shown or f"#{number}", href=f"/apps/{app}/deploys/{number}")
