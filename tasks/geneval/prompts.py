"""GenEval's 553 prompts: read from the pinned file, or made again as its generator makes them.

The generator (djghosh13/geneval af4902f, `prompts/create_prompts.py`) draws from numpy's PCG64 with
seed 43: every class alone, then a hundred of each other tag, without repetition. Its odd plurals
("benchs", "knifes") are part of the benchmark.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import Card, UserError, canonical_json
from unimm_eval.data import DataFile, files_of, verify
from unimm_eval.judges.clip_colors import COLORS
from unimm_eval.judges.mask2former import COCO_CLASSES

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
FILE = "geneval/evaluation_metadata.jsonl"

_RENAMED = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
OBJECT_NAMES = tuple(_RENAMED.get(name, name) for name in COCO_CLASSES)
"""What GenEval calls COCO's classes, in their order; the first is "person"."""

_SEED = 43
_DRAWS = 100
_POSITIONS = ("left of", "right of", "above", "below")
_NUMBERS = {2: "two", 3: "three", 4: "four"}

Metadata = dict[str, Any]


def read_prompts(card: Card, data_dir: Path) -> list[Metadata]:
    """The prompts with their metadata, in the benchmark's order, from the file in `data_dir` if it
    is there. Raises UserError when that is not the pinned one, or when there is none and the
    generator no longer makes it."""
    (file,) = (file for file in files_of(card) if file.name == FILE)
    if file.path(data_dir).exists():
        text = verify(file, data_dir, task=card.name).read_text(encoding="utf-8")
    else:
        text = generate()
        _check_generated(text, file, data_dir, task=card.name)
    return [json.loads(line) for line in text.splitlines()]


def _check_generated(text: str, file: DataFile, data_dir: Path, *, task: str) -> None:
    if hashlib.sha256(text.encode()).hexdigest() != file.sha256:
        raise UserError(
            f"numpy {np.__version__} draws other prompts than those of {task}.",
            fix=f"unimm-eval data fetch {task}, or put {file.url} at {file.path(data_dir)} "
            f"({file.pin}).",
        )


def generate() -> str:
    """The text of `evaluation_metadata.jsonl`, drawn again."""
    lines = dict.fromkeys(json.dumps(row) for row in _draws(np.random.default_rng(_SEED)))
    return "".join(f"{line}\n" for line in lines)


def _draws(rng: np.random.Generator) -> Iterator[Metadata]:
    for index in rng.choice(len(OBJECT_NAMES), size=len(OBJECT_NAMES), replace=False):
        yield _row("single_object", [_group(index)], _a(OBJECT_NAMES[index]))
    makers: tuple[Callable[[np.random.Generator], Metadata], ...] = (
        _two_object,
        _counting,
        _colors,
        _position,
        _color_attr,
    )
    for make in makers:
        for _ in range(_DRAWS):
            yield make(rng)


def _two_object(rng: np.random.Generator) -> Metadata:
    a, b = rng.choice(len(OBJECT_NAMES), size=2, replace=False)
    words = f"{_a(OBJECT_NAMES[a])} and {_a(OBJECT_NAMES[b])}"
    return _row("two_object", [_group(a), _group(b)], words)


def _counting(rng: np.random.Generator) -> Metadata:
    index = rng.choice(len(OBJECT_NAMES))
    count = int(rng.integers(2, 4, endpoint=True))
    name = OBJECT_NAMES[index]
    words = f"{_NUMBERS[count]} {name}{'es' if name.endswith('s') else 's'}"
    exclude = [_group(index, count=count + 1)]
    return _row("counting", [_group(index, count=count)], words, exclude=exclude)


def _colors(rng: np.random.Generator) -> Metadata:
    """Any class but the first: no coloured persons."""
    index = rng.choice(len(OBJECT_NAMES) - 1) + 1
    color = COLORS[rng.choice(len(COLORS))]
    return _row("colors", [_group(index, color=color)], f"{_a(color)} {OBJECT_NAMES[index]}")


def _position(rng: np.random.Generator) -> Metadata:
    """The object that is placed is named first in words and last in the metadata."""
    placed, target = rng.choice(len(OBJECT_NAMES), size=2, replace=False)
    relation = _POSITIONS[rng.choice(len(_POSITIONS))]
    words = f"{_a(OBJECT_NAMES[placed])} {relation} {_a(OBJECT_NAMES[target])}"
    return _row("position", [_group(target), _group(placed, position=[relation, 0])], words)


def _color_attr(rng: np.random.Generator) -> Metadata:
    objects = rng.choice(len(OBJECT_NAMES) - 1, size=2, replace=False) + 1
    colors = [COLORS[index] for index in rng.choice(len(COLORS), size=2, replace=False)]
    pairs = list(zip(objects, colors, strict=True))
    words = " and ".join(f"{_a(color)} {OBJECT_NAMES[index]}" for index, color in pairs)
    return _row("color_attr", [_group(index, color=color) for index, color in pairs], words)


def _group(index: int, *, count: int = 1, **wanted: Any) -> Metadata:
    return {"class": OBJECT_NAMES[index], "count": count, **wanted}


def _row(
    tag: str, include: list[Metadata], words: str, *, exclude: list[Metadata] | None = None
) -> Metadata:
    unwanted = {} if exclude is None else {"exclude": exclude}
    return {"tag": tag, "include": include, **unwanted, "prompt": f"a photo of {words}"}


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def metadata_of(inputs: Any) -> Metadata:
    """The benchmark's own metadata of a sample, in its order of keys."""
    return {key: inputs[key] for key in ("tag", "include", "exclude", "prompt") if key in inputs}


def difference(found: Any, inputs: Any) -> str:
    """In which fields metadata that came with a picture differs from that of its prompt; "" where
    it does not."""
    expected = metadata_of(inputs)
    if not isinstance(found, dict):
        return "it is not a table"
    fields = [
        key
        for key in (*expected, *(key for key in found if key not in expected))
        if canonical_json(found.get(key)) != canonical_json(expected.get(key))
    ]
    return ", ".join(
        f"{key}: {json.dumps(found.get(key))} instead of {json.dumps(expected.get(key))}"
        for key in fields
    )
