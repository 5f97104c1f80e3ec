"""Questions about the embedded world in Cambrian's form: a JSONL of conversations, and pictures.

Finetuning on them takes the path that finetuning on Cambrian-7M takes, file for file, on a machine
that has no Cambrian-7M. All of them are of the world's training split.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import UserError, encode_png
from unimm_eval.train.tools.folder import explained, opened, write_lines
from unimm_eval.world import FAMILIES, Question, render, sample_questions

ROWS = "conversations.jsonl"
PICTURES = "pictures"
_A_FOLDER = 1000


@dataclass(frozen=True, kw_only=True)
class WorldConversations:
    """What is written: `families` says how often a conversation begins with a question of a family,
    1 where it is not named. Later questions, at most `turns` in all, are about the same picture."""

    conversations: int
    turns: int = 4
    seed: int = 0
    families: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise UserError(
                f"families: unknown: {', '.join(unknown)}.", fix=f"Known: {', '.join(FAMILIES)}."
            )
        if not (min(self._weights) >= 0 < sum(self._weights)):
            raise UserError("families: weights are not negative, and one is more than 0.")
        if self.conversations < 1 or self.turns < 1:
            raise UserError("conversations and turns are 1 or more.")

    @property
    def _weights(self) -> list[float]:
        return [self.families.get(name, 1.0) for name in FAMILIES]

    def questions(self, number: int) -> list[Question]:
        """The questions of conversation `number`: a function of the seed and the number alone."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 4, number]))
        share = np.array(self._weights) / sum(self._weights)
        family = str(rng.choice(list(FAMILIES), p=share))
        return sample_questions(rng, split="train", k=self.turns, family=family)


def write_conversations(
    job: WorldConversations, folder: Path, *, watch: Callable[[int], None] = lambda done: None
) -> Path:
    """Write `conversations.jsonl` and `pictures/` into `folder`; returns the JSONL, whole or
    absent. `watch` is told after each conversation how many there are.

    Raises UserError where the folder holds other conversations, or cannot be written.
    """
    rows = folder / ROWS
    with opened(folder, {"what": "world conversations", **asdict(job)}), explained(folder):
        if not rows.exists():
            write_lines(rows, map(json.dumps, _rows(job, folder, watch)))
    return rows


def _rows(
    job: WorldConversations, folder: Path, watch: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Rows whose pictures are written."""
    for number in range(job.conversations):
        questions = job.questions(number)
        name = f"{PICTURES}/{number // _A_FOLDER:04d}/{number:07d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_png(render(questions[0].picture)))
        yield {"id": f"{number:07d}", "image": name, "conversations": list(_parts(questions))}
        watch(number + 1)


def _parts(questions: list[Question]) -> Iterator[dict[str, str]]:
    for number, question in enumerate(questions):
        mark = "" if number else "<image>\n"
        yield {"from": "human", "value": mark + question.question}
        yield {"from": "gpt", "value": question.answer}
