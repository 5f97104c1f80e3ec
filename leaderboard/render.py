"""Templates into pages, under one policy: nothing is fetched from elsewhere and nothing but the
site's own scripts and styles may run, and no script may turn text into markup."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).parent
ASSETS = ("site.css", "theme.js", "dom.js", "state.js", "view.js", "board.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
NAVIGATION = (
    ("index.html", "Scores"),
    ("plots.html", "Plots"),
    ("models.html", "Models"),
    ("tasks.html", "Tasks"),
    ("about.html", "About"),
)


def render(template: str, *, path: str, **contents: Any) -> str:
    """A page that will stand at `path` within the site. Every string is escaped."""
    return (
        _environment()
        .get_template(template)
        .render(
            here=path,
            root="../" * path.count("/"),
            policy=POLICY,
            navigation=NAVIGATION,
            **contents,
        )
    )


def asset(name: str) -> bytes:
    return (HERE / "assets" / name).read_bytes()


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["slug"] = lambda text: "".join(
        letter if letter.isascii() and letter.isalnum() else "-" for letter in text
    )
    return environment
