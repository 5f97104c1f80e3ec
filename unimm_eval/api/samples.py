"""What is asked, what came back, and what it is worth."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unimm_eval.api.arrays import ArrayRow
from unimm_eval.api.pictures import Picture

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question of a task.

    `inputs` is JSON-able and says everything the question depends on (a picture by a seed or by its
    file and hash). `cluster` names what samples share (image, document, prompt, trajectory): error
    bars are computed over clusters. `repeats` is how many outputs are asked for it.
    """

    id: str
    inputs: Mapping[str, Any]
    cluster: str
    repeats: int = 1


@dataclass(frozen=True, kw_only=True)
class Item:
    """One output to produce: a sample, which repeat of it, and the seed for its random numbers."""

    sample: Sample
    repeat: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Output:
    """What the model answered: JSON-able `values`, and pictures and arrays by name.

    Arrays of one name have one type and shape in all outputs of a task (features of a picture). An
    output may lack some of them.
    An output that cannot be had (the picture of a row does not decode) carries `error`: it is kept
    and shown, and its score is unscored.
    """

    sample_id: str
    repeat: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, Picture] = field(default_factory=dict)
    arrays: Mapping[str, ArrayRow] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Numbers for one output. `payload` carries what summaries need besides numbers, JSON-able;
    `arrays` what would be too much as JSON (features of a picture), a few kilobytes each.

    A score with `unscored` (the reason) is neither 0 nor in any mean, and is never final: judging
    again replaces it. With `outage` the reason is none of the output's (the judge was down): the
    run is then incomplete, and the same command asks again.
    """

    sample_id: str
    repeat: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    arrays: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    unscored: str | None = None
    outage: bool = False


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One output as a person wants to see it in a report.

    `group` gathers exhibits (a tag, a question family); `correct` is None where right and wrong do
    not apply; `facts` are shown as a small table.
    """

    group: str
    prompt: str
    answer: str = ""
    expected: str = ""
    correct: bool | None = None
    note: str = ""
    shown: Mapping[str, Picture] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def stable_hash(value: Any, *, length: int = 16) -> str:
    """First `length` hex digits of the SHA-256 of a JSON-able value."""
    data = canonical_json(value).encode("utf-8", "surrogatepass")  # JSON may hold lone surrogates
    return hashlib.sha256(data).hexdigest()[:length]


def make_samples(
    rows: Iterable[tuple[Mapping[str, Any], str]], *, repeats: int = 1
) -> Iterator[Sample]:
    """Samples from (inputs, cluster) rows.

    The id is the hash of the inputs and the number of times they were seen before, so equal rows
    stay apart and an id depends on nothing else in the list.
    """
    seen: Counter[str] = Counter()
    for inputs, cluster in rows:
        digest = stable_hash(inputs)
        occurrence = seen[digest]
        seen[digest] += 1
        name = digest if occurrence == 0 else f"{digest}-{occurrence}"
        yield Sample(id=name, inputs=inputs, cluster=cluster, repeats=repeats)


def item_seed(seed: int, sample_id: str, repeat: int) -> int:
    """63-bit seed of one output: a function of (run seed, sample, repeat) and of nothing else."""
    digest = hashlib.sha256(f"{seed}/{sample_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
