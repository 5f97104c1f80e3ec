"""Rows of documents from the embedded world, without end.

Nothing is drawn from a stream that has a position: row k has its own generator.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    caption_document,
    chat_document,
    describe_document,
    document_length,
    navigation_document,
    text_document,
)
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.show import Latents, Pictures
from unimm_eval.train.recipe import Recipe, Stage
from unimm_eval.train.sourced import Sourced
from unimm_eval.world import (
    FAMILIES,
    INVENTORY_QUESTION,
    Picture,
    Scene,
    inventory,
    render,
    sample_captioned,
    sample_document,
    sample_elements,
    sample_pair,
    sample_question,
    sample_questions,
)
from unimm_eval.world.draw import pick
from unimm_eval.world.rooms_drive import CONTEXT, Drive, sample_drive

_Source = Callable[[np.random.Generator, Stage], Document]
"""Draws a document as it stands in a stage."""

_TRIES = 4
"""Documents that may be found too long for what is left of a row before the row is closed."""

_MEASURED = 200
"""Documents that the mean length of a source is taken of."""


class WorldMixture:
    """Rows of documents drawn from the world's training split.

    A row's sources are drawn so that each has its share of *tokens*: a source is chosen with
    probability proportional to share / mean length of its documents.
    """

    def __init__(
        self, recipe: Recipe, tokenizer: Tokenizer, pictures: Pictures | None = None
    ) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.pictures = pictures or Pictures(recipe, recipe.load_encoder())
        self._draw: dict[str, _Source] = {
            "text": self._text,
            "text_to_image": self._text_to_image,
            "inventory_to_image": self._inventory_to_image,
            "image_to_text": self._image_to_text,
            "inventory": self._inventory,
            "noisy_inventory": self._noisy_inventory,
            "elements": self._elements,
            "chat": self._chat,
            "rooms": self._rooms,
            "short_rooms": self._short_rooms,
        }
        self._latents: Callable[[np.ndarray], Latents] = self.pictures.latents
        self._chances = cache(self._measured_chances)

    def row(self, k: int) -> list[Document]:
        """The documents of packed row `k`; together at most `recipe.length` tokens."""
        rng = np.random.default_rng(np.random.SeedSequence([self.recipe.seed, 1, k]))
        number = self.recipe.stage(k // self.recipe.rows)
        stage = self.recipe.stages[number]
        names, cumulative = self._chances(number)
        documents: list[Document] = []
        left, tries = self.recipe.length, _TRIES
        while tries and left >= 8:
            source = int(np.searchsorted(cumulative, rng.random(), side="right"))
            document = self._draw[names[source]](rng, stage)
            length = document_length(document)
            if length <= left:
                documents.append(Sourced(document, source=names[source]))
                left -= length
            else:
                tries -= 1
        return documents

    def _measured_chances(self, number: int) -> tuple[list[str], np.ndarray]:
        """The world's sources in a stage, and the cumulative chances that they are drawn with."""
        stage = self.recipe.stages[number]
        share = {name: share for name, share in stage.mixture.items() if name in self._draw}
        weight = {name: share[name] / self._mean_length(name, stage) for name in share}
        return list(weight), np.cumsum(list(weight.values())) / sum(weight.values())

    def _mean_length(self, name: str, stage: Stage) -> float:
        # Lengths are the same whatever a picture shows, so no network runs for them.
        self._latents = self.pictures.blank
        try:
            rng = np.random.default_rng(np.random.SeedSequence([self.recipe.seed, 2]))
            lengths = [document_length(self._draw[name](rng, stage)) for _ in range(_MEASURED)]
        finally:
            self._latents = self.pictures.latents
        return float(np.mean(lengths))

    def _clean(self, pixels: np.ndarray) -> PictureSegment:
        return self.pictures.clean(self._latents(pixels))

    def _noised(self, pixels: np.ndarray, rng: np.random.Generator, stage: Stage) -> PictureSegment:
        return self.pictures.noised(self._latents(pixels), rng, stage)

    def _context(
        self, pixels: np.ndarray, rng: np.random.Generator, stage: Stage
    ) -> PictureSegment:
        return self.pictures.context(self._latents(pixels), rng, stage)

    def _text(self, rng: np.random.Generator, _: Stage) -> Document:
        return text_document(self.tokenizer, sample_document(rng, split="train").text)

    def _text_to_image(self, rng: np.random.Generator, stage: Stage) -> Document:
        caption, scene = sample_pair(rng, split="train", tags=stage.tags)[:2]
        return self._generation(rng, caption, scene, stage)

    def _inventory_to_image(self, rng: np.random.Generator, stage: Stage) -> Document:
        """In reading order half of the time, from which it is easier to learn what goes where."""
        scene = sample_captioned(rng, split="train")[1]
        order = rng if rng.random() < 0.5 else None
        return self._generation(rng, inventory(scene, order), scene, stage)

    def _generation(
        self, rng: np.random.Generator, caption: str, scene: Scene, stage: Stage
    ) -> Document:
        picture = self._noised(render(scene), rng, stage)
        dropped = rng.random() < self.recipe.condition_dropout
        return caption_document(self.tokenizer, None if dropped else caption, picture)

    def _image_to_text(self, rng: np.random.Generator, stage: Stage) -> Document:
        caption, scene = sample_captioned(rng, split="train")[:2]
        return describe_document(self.tokenizer, caption, self._context(render(scene), rng, stage))

    def _inventory(self, rng: np.random.Generator, stage: Stage) -> Document:
        question = sample_question(rng, family=_family(rng, stage), split="train")
        turns = [(INVENTORY_QUESTION, inventory(question.picture, rng))]
        return self._conversation(question.picture, turns, stage)

    def _noisy_inventory(self, rng: np.random.Generator, stage: Stage) -> Document:
        """What is in a noised picture, which is to be learned too: who denoises has to see."""
        scene = sample_captioned(rng, split="train")[1]
        picture = self._noised(render(scene), rng, stage)
        turns = [(INVENTORY_QUESTION, inventory(scene, rng))]
        return chat_document(self.tokenizer, picture, turns, answer_weight=stage.answer_weight)

    def _elements(self, rng: np.random.Generator, stage: Stage) -> Document:
        scene, turns = sample_elements(rng, split="train", k=4)
        return self._conversation(scene, turns, stage)

    def _chat(self, rng: np.random.Generator, stage: Stage) -> Document:
        family = _family(rng, stage) if stage.families is not None else None
        questions = sample_questions(rng, split="train", k=4, family=family)
        turns = [(question.question, question.answer) for question in questions]
        return self._conversation(questions[0].picture, turns, stage)

    def _rooms(self, rng: np.random.Generator, stage: Stage) -> Document:
        """Four frames, actions and the frame that the last of them leads to."""
        return self._drive(rng, stage, sample_drive(rng), frames=CONTEXT)

    def _short_rooms(self, rng: np.random.Generator, stage: Stage) -> Document:
        """One to three frames (appendix G.3), one action and the frame that it leads to: twice as
        many targets in a row."""
        frames = pick(rng, (1, 1, 1, 2, 3))
        return self._drive(rng, stage, sample_drive(rng, most_actions=1), frames=frames)

    def _drive(
        self, rng: np.random.Generator, stage: Stage, drive: Drive, *, frames: int
    ) -> Document:
        context = [self._clean(frame) for frame in drive.context[-frames:]]
        *before, target = drive.frames
        after = [*(self._clean(frame) for frame in before), self._noised(target, rng, stage)]
        steps = list(zip(drive.actions, after, strict=True))
        dropped = rng.random() < self.recipe.condition_dropout
        return navigation_document(self.tokenizer, context, steps, dropped=dropped)

    def _conversation(
        self, picture: Picture, turns: list[tuple[str, str]], stage: Stage
    ) -> Document:
        clean = self._clean(render(picture))
        return chat_document(self.tokenizer, clean, turns, answer_weight=stage.answer_weight)


def _family(rng: np.random.Generator, stage: Stage) -> str:
    """A family of questions, as often as the stage says."""
    weight = np.array([(stage.families or {}).get(name, 1.0) for name in FAMILIES])
    return str(rng.choice(list(FAMILIES), p=weight / weight.sum()))


def tokenizer_texts(seed: int, count: int) -> list[str]:
    """Training-split text of all kinds, to learn a tokenizer from."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    texts = [sample_document(rng, split="train").text for _ in range(count)]
    texts += [sample_pair(rng, split="train")[0] for _ in range(count)]
    texts += [sample_captioned(rng, split="train")[0] for _ in range(count)]
    for _ in range(count):
        for question in sample_questions(rng, split="train", k=4):
            texts += [question.question, question.answer]
    return texts
