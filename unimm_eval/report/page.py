"""From contents to one self-contained HTML page.

Nothing is fetched and nothing but the page's own style and script may run: the policy in the head
admits them by hash and pictures as data URIs. Every string is escaped by the template engine.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api import Result
from unimm_eval.report.charts import Curve, curve_chart, interval_chart
from unimm_eval.report.gallery import VERDICTS, Gallery
from unimm_eval.report.numbers import as_interval, plain_number, with_error

if TYPE_CHECKING:
    import jinja2

Table = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One task on the page; `answered_by` says which child answered for the model, if one did."""

    task: str
    title: str
    mini: bool
    limited: bool
    rows: Sequence[Result]
    descriptions: Mapping[str, str]
    curves: Sequence[Curve]
    gallery: Gallery
    problem: str
    details: Sequence[tuple[str, Table]]
    settings: Table
    references: Table
    answered_by: str = ""

    @property
    def headline(self) -> Result | None:
        return next((row for row in self.rows if row.headline), None)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything the page says; `child` is the finetuned one that answered for the model."""

    model: str
    spec: str
    fingerprint: str
    child: str
    run: str
    seed: int
    started: str
    sections: Sequence[Section]
    model_facts: Table
    machine: Table
    versions: Table


def render(contents: Contents) -> str:
    """The page. Equal contents give equal pages."""
    style, script = asset("page.css"), asset("page.js")
    return (
        environment()
        .get_template("page.html")
        .render(
            contents=contents,
            verdicts=VERDICTS,
            verdict_names={
                "wrong": "wrong",
                "unscored": "unscored",
                "shown": "not judged",
                "right": "right",
            },
            style=style,
            script=script,
            style_hash=csp_hash(style),
            script_hash=csp_hash(script),
        )
    )


def slug(text: str) -> str:
    """An id for anchors: letters, digits and dashes."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)


@cache
def environment() -> "jinja2.Environment":
    """The template engine of this room's pages: it escapes every string, and knows no undefined
    name."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "as_interval": lambda row: as_interval(row.interval, value=row.value, stderr=row.stderr),
        "curve_chart": curve_chart,
        "interval_chart": interval_chart,
        "plain_number": plain_number,
        "slug": slug,
        "with_error": lambda row: with_error(row.value, row.stderr),
    }
    return environment


def asset(name: str) -> str:
    """A style sheet or script of this room."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def csp_hash(text: str) -> str:
    """The source that admits one inline style or script in a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
