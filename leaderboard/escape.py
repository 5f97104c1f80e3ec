"""Text from outside, made inert in the languages of the exports.

Whatever comes in has been through `one_line`: no control characters, no newlines, no marks that
reorder what stands around them. Here it loses what it would mean to a spreadsheet, to TeX, to
BibTeX and to Markdown. HTML is escaped by the template engine.
"""

import re
from collections.abc import Mapping

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FULLWIDTH = ("＝", "＋", "－", "＠")
_TEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "…": r"\ldots{}",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-!|~$<>&:@/])")


def csv_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before one."""
    return (
        f"'{text}" if text.lstrip(" \"'\ufeff\u200b").startswith((*_FORMULA, *_FULLWIDTH)) else text
    )


def tex(text: str) -> str:
    """Text for LaTeX, whose special characters are shown. Works in BibTeX, since braces stay
    balanced."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def bibtex(text: str) -> str:
    """Text for a field of BibTeX in braces; braces of its own, even escaped ones, would unbalance
    them."""
    return tex(text.replace("{", "(").replace("}", ")"))


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table: no markup, no HTML, no link, not even a bare one."""
    return _MARKDOWN.sub(lambda match: _ENTITIES.get(match[1], "\\" + match[1]), text)


_ENTITIES: Mapping[str, str] = {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
    "|": "&#124;",
    ":": "&#58;",
    "@": "&#64;",
    "/": "&#47;",
    "-": "-",
    "(": "(",
    ")": ")",
    "+": "+",
}
