"""Strict readings of what a judge writes.

An answer is a verdict or it is not one: there is no search for something that looks like a score
within prose, so text that a picture shows and a judge repeats cannot pass for its decision.
"""

import re
from collections.abc import Sequence

_BARE = re.compile(r"[0-9]+")
_MARKS = re.compile(r"[*_`]+")


def without_thoughts(text: str) -> str:
    """The answer after `<think>…</think>`, which some servers leave in it."""
    return re.sub(r"(?s)^.*</think>", "", text).strip()


def yes_or_no(text: str) -> bool:
    """Whether the answer is yes: that word or "no", alone, in any case.

    Emphasis marks and a full stop are overlooked. Anything else raises ValueError.
    """
    word = _MARKS.sub("", without_thoughts(text)).strip().removesuffix(".").lower()
    if word not in ("yes", "no"):
        raise ValueError(f"is neither yes nor no: {_brief(text)}")
    return word == "yes"


def labelled_digits(text: str, labels: Sequence[str], *, largest: int) -> dict[str, int]:
    """`Label: digit`, one line each, every label once, in any order, each digit 0 to `largest`.

    Emphasis marks and list dashes are overlooked, and as many bare digits as there are labels, each
    on its own line, count in the order of `labels`. Anything else raises ValueError.
    """
    lines = [_MARKS.sub("", line).strip(" \t-•") for line in text.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) != len(labels):
        raise ValueError(f"has {len(lines)} lines instead of {len(labels)}: {_brief(text)}")
    if all(_BARE.fullmatch(line) for line in lines):
        return {label: _digit(line, largest) for label, line in zip(labels, lines, strict=True)}
    known = {label.lower(): label for label in labels}
    found: dict[str, int] = {}
    for line in lines:
        name, colon, digits = line.partition(":")
        label = known.get(name.strip().lower())
        if not colon or label is None or not _BARE.fullmatch(digits.strip()):
            raise ValueError(f"has a line that is no score: {_brief(line)}")
        if label in found:
            raise ValueError(f"gives {label} twice: {_brief(text)}")
        found[label] = _digit(digits.strip(), largest)
    return {label: found[label] for label in labels}


def _digit(text: str, largest: int) -> int:
    if int(text) > largest:
        raise ValueError(f"gives {text[:20]}, more than {largest}")
    return int(text)


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
