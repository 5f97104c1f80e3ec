"""Sampled text, and choices by guided decoding.

Shapes: R rows of a session, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unimm_eval.model.generate.session import Session
from unimm_eval.model.sequence import Document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, otherwise from the smallest set of
    tokens that holds `top_p` of the probability.

    Raises ValueError, naming the field, for a temperature below 0 or a top_p outside (0, 1].
    """

    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")

    def next(self, logits_V: Tensor, generator: torch.Generator) -> int:
        if self.temperature == 0:
            return int(logits_V.argmax())
        p_V, token_V = (logits_V / self.temperature).softmax(-1).cpu().sort(descending=True)
        kept = p_V.cumsum(0) - p_V < self.top_p
        return int(token_V[torch.multinomial(p_V * kept, 1, generator=generator)])


@torch.inference_mode()
def generate_text(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    sampling: Sequence[Sampling],
    finished: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """Ids that continue each document, without the `<eot>`, `<eos>` or `<boi>` that ends it.

    `finished(row, ids)` may end a row earlier (stop strings).
    """
    session = Session(model, documents, new_tokens=max_new_tokens, pad=tokenizer.pad)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    ends = {tokenizer.eot, tokenizer.eos, tokenizer.boi}
    texts: list[list[int]] = [[] for _ in documents]
    active = [True] * len(documents)
    for _ in range(max_new_tokens):
        logits_RV = session.logits()
        for row in range(len(documents)):
            if active[row]:
                token = sampling[row].next(logits_RV[row], generators[row])
                if token in ends:
                    active[row] = False
                else:
                    texts[row].append(token)
                    active[row] = not finished(row, texts[row])
        if not any(active):
            break
        session.append([ids[-1:] if on else () for ids, on in zip(texts, active, strict=True)])
    return texts


@torch.inference_mode()
def choose_text(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    choices: Sequence[Sequence[str]],
) -> list[int]:
    """Index of the choice that greedy decoding takes when only choices (and their `<eot>`) are
    allowed; of equal ones the first."""
    options = [[[*tokenizer.encode(text), tokenizer.eot] for text in texts] for texts in choices]
    depth = max(len(ids) for texts in options for ids in texts)
    session = Session(model, documents, new_tokens=depth, pad=tokenizer.pad)
    # Only different choices: each ends in `<eot>`, so none begins another and one will remain.
    alive = [[i for i, ids in enumerate(texts) if texts.index(ids) == i] for texts in options]
    for position in range(depth):
        if all(len(left) == 1 for left in alive):
            break
        logits_RV = session.logits()
        taken: list[list[int]] = [[] for _ in documents]
        for row, left in enumerate(alive):
            if len(left) > 1:
                allowed = sorted({options[row][i][position] for i in left})
                best = allowed[int(logits_RV[row, allowed].argmax())]
                alive[row] = [i for i in left if options[row][i][position] == best]
                if len(alive[row]) > 1:
                    taken[row] = [best]
        session.append(taken)
    return [left[0] for left in alive]
