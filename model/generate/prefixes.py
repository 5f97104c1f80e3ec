"""Beginnings that several prompts share, each encoded once.

GQA asks about thirty questions a picture: what stands before them, the picture among it, goes
through the model once, and its keys and values are copied for each question.

A shared beginning is encoded by itself, so it comes out the same to the bit whenever that happens
and whatever else is asked: keeping it for later prompts changes their time and nothing else.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch

from unimm_eval.model.generate.session import Session
from unimm_eval.model.sequence import Document, TextSegment
from unimm_eval.model.unified import UnifiedModel

KEPT_BYTES = 2**28
"""Keys and values of beginnings that are kept from one batch for the next."""
LEAST_SAVED = 64
"""Tokens that sharing must save: a beginning encoded by itself is a pass more."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A document in two parts: `beginning`, and the text ids behind it.

    Prompts with equal `key` have equal beginnings, of `length` tokens; None is a beginning of its
    own. It is made when it is encoded: a picture that was seen before is not looked at again.
    """

    key: Hashable | None
    length: int
    beginning: Callable[[], Document]
    rest: Sequence[int]


class Prefixes:
    """Sessions on prompts of one model, whose shared beginnings are encoded once."""

    def __init__(
        self,
        model: UnifiedModel,
        *,
        pad: int,
        kept_bytes: int = KEPT_BYTES,
        least_saved: int = LEAST_SAVED,
    ) -> None:
        self._model, self._pad = model, pad
        self._kept_bytes, self._least_saved = kept_bytes, least_saved
        self._kept: OrderedDict[Hashable, Session] = OrderedDict()

    @torch.inference_mode()
    def session(self, prompts: Sequence[Prompt], *, new_tokens: Sequence[int]) -> Session:
        """A session with a row a prompt, and room behind each for its number of `new_tokens`.

        A beginning is encoded by itself, or taken from what was kept, where that saves
        `least_saved` tokens: to the prompts that share it, or, were it kept, to a prompt that comes
        alone. The others go through the model whole, in one pass. Which of the two depends on
        `prompts`, never on what was asked before. Raises ValueError when a prompt does not fit the
        model's max_length.
        """
        counts = Counter(prompt.key for prompt in prompts)
        begun: dict[Hashable, Session] = {}
        for prompt in prompts:
            again = 1 if len(prompts) == 1 else counts[prompt.key] - 1
            shared = prompt.key is not None and again and again * prompt.length >= self._least_saved
            if shared and prompt.key not in begun:
                begun[prompt.key] = self._begun(prompt)
        apart = [row for row, prompt in enumerate(prompts) if prompt.key not in begun]
        documents = [
            [*prompts[row].beginning(), TextSegment(ids=prompts[row].rest)] for row in apart
        ]
        if not begun:
            return Session(self._model, documents, new_tokens=new_tokens, pad=self._pad)
        whole = Session(self._model, documents, new_tokens=0, pad=self._pad) if apart else None
        picked = {row: (whole, place) for place, row in enumerate(apart) if whole is not None}
        picked |= {r: (begun[p.key], 0) for r, p in enumerate(prompts) if p.key in begun}
        rests = [() if row in apart else prompt.rest for row, prompt in enumerate(prompts)]
        session = Session.gather(
            [picked[row] for row in range(len(prompts))],
            new_tokens=[len(rest) + new for rest, new in zip(rests, new_tokens, strict=True)],
        )
        session.append(rests)
        return session

    def _begun(self, prompt: Prompt) -> Session:
        """The beginning of a prompt, in a session of one row without room."""
        if prompt.key in self._kept:
            self._kept.move_to_end(prompt.key)
            return self._kept[prompt.key]
        begun = Session(self._model, [prompt.beginning()], new_tokens=0, pad=self._pad)
        self._kept[prompt.key] = begun
        while sum(session.cache.nbytes for session in self._kept.values()) > self._kept_bytes:
            self._kept.popitem(last=False)
        return begun
