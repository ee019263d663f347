from __future__ import annotations

import pytest

from dropdeploy.report.page.html import EMPTY, Html, join, tag, text

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'\"&<>",
    "</pre></main>",
    "javascript:alert(1)",
    "a\x00b\x1b[31mc\x07",
    "\u202egnp.exe",
    "caf\udce9",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_gets_out_of_text_and_attributes(hostile: str) -> None:
    element = tag("p", hostile, title=hostile)
    inside = element.removeprefix('<p title="').removesuffix("</p>")
    attribute, content = inside.split('">', 1)
    for part in (attribute, content):
        assert not {"<", '"', "'", "\x1b", "\x00", "\u202e"} & set(part)
        part.encode()  # can be sent


def test_markup_is_not_escaped_again_and_text_always() -> None:
    assert tag("p", tag("b", "1 < 2"), " & ") == "<p><b>1 &lt; 2</b> &amp; </p>"
    assert join(text("<"), None, "", EMPTY, "<", by=", ") == "&lt;, &lt;"
    assert isinstance(join("a", "b"), Html)


def test_attributes() -> None:
    assert tag("a", class_="x y", aria_label="l", hidden=True, rel=None, download=False, tabindex=0) == (
        '<a class="x y" aria-label="l" hidden tabindex="0"></a>'
    )
    assert tag("meta", name="viewport", content="width") == '<meta name="viewport" content="width">'


def test_lines_of_a_log_stay_lines() -> None:
    assert tag("pre", "one\ntwo\r\nthree") == "<pre>one\ntwo\nthree</pre>"
