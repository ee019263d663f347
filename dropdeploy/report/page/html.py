"""HTML that cannot be broken out of: text is escaped on its way in, and what comes out is known as markup.   (pure)

Names of uploads, metadata and logs come from strangers. What is not ``Html`` is text, and goes through ``harmless``.
"""

from __future__ import annotations

from html import escape

from dropdeploy.report.harmless import harmless

_VOID = frozenset({"br", "input", "link", "meta", "wbr"})


class Html(str):
    """Markup. Only the functions of this module make it."""

    __slots__ = ()


EMPTY = Html("")


def text(content: str) -> Html:
    """Text as markup; a newline stays one."""
    return Html(escape(harmless(content)))


def join(*contents: Html | str | None, by: str = "") -> Html:
    """Contents one after the other, without those that are empty; ``by`` is text."""
    return Html(escape(by).join(_markup(content) for content in contents if content))


def tag(name: str, /, *contents: Html | str | None, **attributes: str | int | bool | None) -> Html:
    """An element. Attributes are named as in Python: ``class_`` is class, ``aria_label`` is aria-label; those that are
    None or False are left out, and a True one has no value."""
    opened = "".join([f"<{name}", *(_attribute(key, value) for key, value in attributes.items()), ">"])
    if name in _VOID:
        return Html(opened)
    return Html(f"{opened}{''.join([_markup(content) for content in contents if content])}</{name}>")


def style(sheet: str) -> Html:
    """A style sheet of our own, as it is: never what a stranger wrote."""
    return Html(f"<style>{sheet}</style>")


def _markup(content: Html | str) -> str:
    return content if isinstance(content, Html) else text(content)


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(harmless(str(value)))}"'
