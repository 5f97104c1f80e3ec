"""True questions about pictures: the world's families and scikit-learn's two photographs."""

import io
from dataclasses import dataclass
from functools import cache

from unimm_eval.api import encode_png
from unimm_eval.world import question_at, render

FILLERS = ["none of them", "all of them", "it cannot be told"]
"""Wrong options where a family has fewer choices than a benchmark has options."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    picture: bytes
    question: str
    choices: tuple
    answer: str

    def options(self, count, turn=0):
        """`count` options, the answer among them, turned by `turn` places."""
        others = [choice for choice in self.choices if choice != self.answer] + FILLERS
        found = [self.answer, *others[: count - 1]]
        turn %= len(found)
        return found[turn:] + found[:turn]


def asked(family, count, *, photographs=2):
    """`count` questions of a family; the last of them are about photographs."""
    rows = []
    for index in range(count - photographs):
        question = question_at(family=family, split="test", index=index)
        rows.append(
            Asked(
                picture=encode_png(render(question.picture)),
                question=question.question,
                choices=tuple(question.choices),
                answer=question.answer,
            )
        )
    return rows + [about_photograph(index) for index in range(photographs)]


def about_photograph(index):
    name = ("china.jpg", "flower.jpg")[index % 2]
    return Asked(
        picture=photograph(name, index),
        question="what is in the photograph?",
        choices=("temple", "flower", "digit", "bar"),
        answer=("temple", "flower")[index % 2],
    )


@cache
def photograph(name, corner=0):
    """JPEG bytes of a piece of a photograph."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    left = 40 * corner
    piece = Image.fromarray(load_sample_image(name)).crop((left, 60, left + 240, 240))
    buffer = io.BytesIO()
    piece.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()
