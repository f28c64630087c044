"""A report as Markdown and as one HTML page that needs nothing else: it can be sent, kept and printed."""

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.report.curve import HEIGHT, WIDTH
from service.report.values import ModelReport

SIGNS = {
    "passed": "✓", "refused": "✕", "not judged": "∅", "better or equal": "✓", "worse": "✕", "not enough labels": "…",
    "not measured": "∅", "refuses": "✕", "to know": "!", "passes": "✓",
}  # fmt: skip
"""The sign that stands beside an answer, so that nobody needs to tell colours apart."""
_TEMPLATES = Path(__file__).parents[1] / "web" / "templates"
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


def to_html(report: ModelReport) -> str:
    """One page without scripts; whatever came from senders is escaped."""
    return _PAGES.get_template("report.html").render(report=report, signs=SIGNS, width=WIDTH, height=HEIGHT)


def to_markdown(report: ModelReport) -> str:
    """The same in Markdown, with pipe tables; what came from senders cannot make markup."""
    return _TEXTS.get_template("report.md").render(report=report, signs=SIGNS)


def style_of(page: bytes) -> str:
    """The source of a Content-Security-Policy that allows the one style a page has, and no other.

    >>> style_of(b"<style>p { margin: 0 }</style>")
    "'sha256-7IWhgxoOGTB5NQzjGk9OPt0FwhVeBvZGoWgF9xLLh8c='"
    """
    found = _STYLE.search(page)
    digest = hashlib.sha256(found[1] if found else b"").digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def plain_line(text: object) -> str:
    r"""A text that Markdown shows as it is, on one line and in one cell.

    >>> plain_line("a|b\n<script>*x*</script>")
    'a\\|b &lt;script>\\*x\\*&lt;/script>'
    """
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line).replace("&", "&amp;").replace("<", "&lt;")


_PAGES = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEXTS = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=False,  # noqa: S701  not HTML: `plain_line` is Markdown's own way
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEXTS.filters["line"] = plain_line
