"""Sampled text, and choices by guided decoding.

Shapes: R rows of a session, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unimm_eval.model.generate.session import Session
from unimm_eval.model.tokenizer import Tokenizer


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
    session: Session,
    tokenizer: Tokenizer,
    *,
    seeds: Sequence[int],
    max_new_tokens: Sequence[int],
    sampling: Sequence[Sampling],
    finished: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """Ids that continue each row, without the control token (`<eot>`, `<eos>`, `<boi>`, …) that
    ends it; at most its `max_new_tokens`, for which the session has room.

    `finished(row, ids)` may end a row earlier (stop strings).
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    texts: list[list[int]] = [[] for _ in seeds]
    active = [most > 0 for most in max_new_tokens]
    while any(active):
        logits_RV = session.logits()
        for row in range(len(texts)):
            if active[row]:
                token = sampling[row].next(logits_RV[row], generators[row])
                if token in tokenizer.control:
                    active[row] = False
                else:
                    texts[row].append(token)
                    full = len(texts[row]) == max_new_tokens[row]
                    active[row] = not full and not finished(row, texts[row])
        session.append([ids[-1:] if on else () for ids, on in zip(texts, active, strict=True)])
    return texts


def choice_ids(tokenizer: Tokenizer, choices: Sequence[str]) -> list[list[int]]:
    """Each choice as it would be written, its `<eot>` included."""
    return [[*tokenizer.encode(text), tokenizer.eot] for text in choices]


@torch.inference_mode()
def choose_text(session: Session, options: Sequence[Sequence[Sequence[int]]]) -> list[int]:
    """Index of the option that greedy decoding takes when a row's options (`choice_ids`) alone are
    allowed; of equal ones the first. The session has room for the longest of each row."""
    depth = max(len(ids) for texts in options for ids in texts)
    # Only different choices: each ends in `<eot>`, so none begins another and one will remain.
    alive = [[i for i, ids in enumerate(texts) if texts.index(ids) == i] for texts in options]
    for position in range(depth):
        if all(len(left) == 1 for left in alive):
            break
        logits_RV = session.logits()
        taken: list[list[int]] = [[] for _ in options]
        for row, left in enumerate(alive):
            if len(left) > 1:
                allowed = sorted({options[row][i][position] for i in left})
                best = allowed[int(logits_RV[row, allowed].argmax())]
                alive[row] = [i for i in left if options[row][i][position] == best]
                if len(alive[row]) > 1:
                    taken[row] = [best]
        session.append(taken)
    return [left[0] for left in alive]
