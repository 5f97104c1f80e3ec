"""Packed row k of a recipe: a pure function of (recipe, k).

Nothing is drawn from a stream that has a position: row k has its own generator, so a run can stop
after any row and any number of workers can share the rows.
"""

from collections.abc import Callable

import numpy as np
import torch

from unimm_eval.model import flow
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    caption_document,
    chat_document,
    describe_document,
    document_length,
    text_document,
)
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.recipe import Recipe
from unimm_eval.world import (
    render,
    sample_captioned,
    sample_document,
    sample_pair,
    sample_questions,
)

_Source = Callable[[np.random.Generator, float], Document]
"""Draws a document; the number is the weight of an answer's tokens."""

_TRIES = 4
"""Documents that may be found too long for what is left of a row before the row is closed."""


class WorldMixture:
    """Rows of documents drawn from the world's training split.

    A row's sources are drawn so that each has its share of *tokens*: a source is chosen with
    probability proportional to share / mean length of its documents.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.encoder = recipe.encoder_()
        config = recipe.model_config_()
        self._alpha = flow.shift_factor(config.latent_tokens, config.latent_channels)
        draw: dict[str, _Source] = {
            "text": self._text,
            "text_to_image": self._text_to_image,
            "image_to_text": self._image_to_text,
            "chat": self._chat,
        }
        length = {name: self._mean_length(source) for name, source in draw.items()}
        self._stages = []
        for stage in recipe.stages:
            weight = {name: share / length[name] for name, share in stage.mixture.items()}
            cumulative = np.cumsum(list(weight.values())) / sum(weight.values())
            self._stages.append(([draw[name] for name in weight], cumulative))

    def row(self, k: int) -> list[Document]:
        """The documents of packed row `k`; together at most `recipe.length` tokens."""
        rng = np.random.default_rng(np.random.SeedSequence([self.recipe.seed, 1, k]))
        stage = self.recipe.stage(k // self.recipe.rows)
        sources, cumulative = self._stages[stage]
        answer_weight = self.recipe.stages[stage].answer_weight
        documents: list[Document] = []
        left, tries = self.recipe.length, _TRIES
        while tries and left >= 8:
            source = int(np.searchsorted(cumulative, rng.random(), side="right"))
            document = sources[source](rng, answer_weight)
            length = document_length(document)
            if length <= left:
                documents.append(document)
                left -= length
            else:
                tries -= 1
        return documents

    def _mean_length(self, source: _Source) -> float:
        rng = np.random.default_rng(np.random.SeedSequence([self.recipe.seed, 2]))
        return float(np.mean([document_length(source(rng, 1.0)) for _ in range(200)]))

    def _clean(self, pixels: np.ndarray) -> PictureSegment:
        latents = self.encoder.encode(torch.from_numpy(pixels)[None])[0].numpy()
        return PictureSegment(latents=latents)

    def _text(self, rng: np.random.Generator, _: float) -> Document:
        return text_document(self.tokenizer, sample_document(rng, split="train").text)

    def _text_to_image(self, rng: np.random.Generator, _: float) -> Document:
        caption, scene = sample_pair(rng, split="train")[:2]
        clean = self._clean(render(scene)).latents
        t = float(flow.shift_time(torch.tensor(rng.random()), self._alpha))
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        dropped = rng.random() < self.recipe.condition_dropout
        picture = PictureSegment(latents=clean, t=t, noise=noise, flow=True)
        return caption_document(self.tokenizer, None if dropped else caption, picture)

    def _image_to_text(self, rng: np.random.Generator, _: float) -> Document:
        caption, scene = sample_captioned(rng, split="train")[:2]
        return describe_document(self.tokenizer, caption, self._clean(render(scene)))

    def _chat(self, rng: np.random.Generator, answer_weight: float) -> Document:
        questions = sample_questions(rng, split="train", k=4)
        turns = [(question.question, question.answer) for question in questions]
        picture = self._clean(render(questions[0].picture))
        return chat_document(self.tokenizer, picture, turns, answer_weight=answer_weight)


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
