"""Pages that say why there is none.   (pure)"""

from __future__ import annotations

from dropdeploy.report.page.frame import Frame, document
from dropdeploy.report.page.html import Html, tag


def error_page(frame: Frame, title: str, sentence: str) -> Html:
    """A title and what to do."""
    return document(frame, title, tag("h1", title), tag("p", sentence), tag("p", tag("a", "All apps", href="/")))


def token_page(frame: Frame, *, is_wrong: bool) -> Html:
    """Asks for the token. The form's answer is turned into a cookie at once, so that it stays in no address."""
    return document(
        frame,
        "Token wanted",
        tag("h1", "Token wanted"),
        tag("p", "That is not the token.", role="alert") if is_wrong else None,
        tag(
            "p",
            "This page is for those who have the token of ",
            tag("code", "listen_token_file"),
            ". Programs send it as ",
            tag("code", "Authorization: Bearer …"),
            ".",
        ),
        tag(
            "form",
            tag("label", "Token", for_="token"),
            tag("input", type="password", id="token", name="token", required=True, autocomplete="current-password"),
            tag("button", "Open"),
        ),
    )
