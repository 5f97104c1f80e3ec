"""What was asked, answered and expected, as text, for forms that know nothing but text.

Tasks keep their samples as they need them; the names looked for here are those they use. Where none
is found, the whole of it is given as JSON, so that nothing is lost.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from unimm_eval.api import RunRecord, ScoredOutput, canonical_json

_ASKED = ("prompt", "question", "text", "caption", "context")
_SAID = ("text", "answer", "response")
_EXPECTED = ("answer", "answers", "expected", "target", "reference")


def asked(row: ScoredOutput) -> str:
    """The question."""
    return _first(row.sample.inputs, _ASKED)


def said(row: ScoredOutput) -> str:
    """The answer; empty where it is a picture alone."""
    return _first(row.answer, _SAID) if row.answer else ""


def expected(row: ScoredOutput) -> list[str]:
    """The right answers, where the question carries them."""
    for holder in (row.sample.inputs, row.score.payload):
        for name in _EXPECTED:
            found = holder.get(name)
            if found is not None:
                listed = found if isinstance(found, list) else [found]
                return [_text(value) for value in listed]
    return []


def main_value(row: ScoredOutput, headline: str) -> tuple[str, float] | None:
    """The score that stands for an output: the one called like the headline, else the first."""
    values = row.score.values
    if not values:
        return None
    name = headline if headline in values else min(values)
    return name, values[name]


def strings(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as text, without those that are not there."""
    return {str(key): _text(value) for key, value in values.items() if value is not None}


def moment(record: RunRecord) -> datetime:
    """When the run began; the epoch where the record does not say."""
    told = record.volatile.get("created")
    try:
        found = datetime.fromisoformat(str(told))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def versions(record: RunRecord) -> dict[str, str]:
    """Versions of the programs that made the run, as far as the record tells."""
    told = record.volatile.get("versions")
    return strings(told) if isinstance(told, Mapping) else {}


def _first(holder: Mapping[str, Any], names: Iterable[str]) -> str:
    found = next((holder[name] for name in names if isinstance(holder.get(name), str)), None)
    return canonical_json(dict(holder)) if found is None else str(found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
