"""Text from models and data sets, made safe to look at.

Such text may hold terminal escapes, line-drawing tricks and marks that reorder what stands around
them. Here every control character becomes a visible sign; whoever embeds the text in a language of
its own (HTML, terminal markup) still escapes it for that language.
"""

import unicodedata

_KEPT = "\n\t\u200c\u200d"
"""Line feed, tab, and the joiners that Persian, Indic scripts and emoji are spelled with."""


def visible(text: str, *, limit: int | None = None) -> str:
    """`text` with control, format and surrogate characters shown instead of obeyed.

    C0 controls become their pictures (ESC is shown as ␛), everything else that is not printable
    becomes U+FFFD. Newlines and tabs stay. Beyond `limit` characters the text is cut, and says so.
    """
    left_out = 0 if limit is None else max(0, len(text) - limit)
    kept = text[:limit] if left_out else text
    shown = kept if kept.isprintable() else "".join(map(_visible, kept))
    return f"{shown}… (+{left_out:,} characters)" if left_out else shown


def one_line(text: str, *, limit: int | None = None) -> str:
    """Like `visible`, on one line."""
    return visible(text, limit=limit).replace("\n", "↵").replace("\t", " ")


def _visible(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"
