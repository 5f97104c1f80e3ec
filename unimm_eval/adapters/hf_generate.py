"""Text of a transformers model, request by request as if each were alone in its batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt as ids, and how it is continued."""

    ids: Sequence[int]
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def continue_ids(
    model: Any, tokenizer: Any, rows: Sequence[Asked], *, max_new_tokens: int, pad: int
) -> list[str]:
    """What follows each prompt, up to the end of an answer, `max_new_tokens` or the token that
    completes a stop string. Drawn tokens depend on the row's seed alone."""
    ends = _end_ids(model, tokenizer)
    how: dict[str, Any] = {"eos_token_id": ends or None}
    if any(row.temperature > 0 for row in rows):
        how["logits_processor"] = [_Drawn(rows)]
    if any(row.stop for row in rows):
        how["stopping_criteria"] = [_Stopped(rows, tokenizer, start=_width(rows))]
    made = _generate(model, rows, pad=pad, max_new_tokens=max_new_tokens, **how)
    return [tokenizer.decode(_until(ids, ends), skip_special_tokens=True) for ids in made]


def choose(
    model: Any, rows: Sequence[Asked], options: Sequence[Sequence[list[int]]], *, pad: int
) -> list[int]:
    """Index of the option that greedy decoding takes when nothing else is allowed; of equal ones
    the first. No option of a row begins another."""
    start = _width(rows)

    def allowed(row: int, ids_S: "Tensor") -> list[int]:
        made = ids_S[start:].tolist()
        depth = len(made)
        return [ids[depth] for ids in options[row] if ids[:depth] == made and len(ids) > depth] or [
            pad
        ]

    longest = max(len(ids) for texts in options for ids in texts)
    made = _generate(
        model,
        rows,
        pad=pad,
        max_new_tokens=longest,
        eos_token_id=None,
        prefix_allowed_tokens_fn=allowed,
    )
    return [
        next(index for index, option in enumerate(texts) if ids[: len(option)] == option)
        for ids, texts in zip(made, options, strict=True)
    ]


def _generate(model: Any, rows: Sequence[Asked], *, pad: int, **how: Any) -> list[list[int]]:
    """New ids of each row. Rows are padded on the left, so that all are continued at once."""
    import torch

    width = _width(rows)
    ids_RS = torch.tensor([[pad] * (width - len(row.ids)) + list(row.ids) for row in rows])
    mask_RS = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows])
    with torch.inference_mode():
        made_RS = model.generate(
            input_ids=ids_RS.to(model.device),
            attention_mask=mask_RS.to(model.device),
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=pad,
            **how,
        )
    found: list[list[int]] = made_RS[:, width:].tolist()
    return found


def _width(rows: Sequence[Asked]) -> int:
    return max(len(row.ids) for row in rows)


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """What ends an answer: the tokens that the checkpoint's generation settings and its tokenizer
    name."""
    named = model.generation_config.eos_token_id
    ends = [named] if isinstance(named, int) else list(named or [])
    own = tokenizer.eos_token_id
    return ends if own is None or own in ends else [*ends, own]


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    return next((ids[:at] for at, token in enumerate(ids) if token in ends), ids)


class _Stopped:
    """Tells which rows have written one of their stop strings."""

    def __init__(self, rows: Sequence[Asked], tokenizer: Any, *, start: int) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._start = start

    def __call__(self, ids_RS: "Tensor", scores: Any, **kwargs: Any) -> "Tensor":
        import torch

        texts = self._tokenizer.batch_decode(ids_RS[:, self._start :], skip_special_tokens=True)
        done = [
            any(stop in text for stop in row.stop)
            for row, text in zip(self._rows, texts, strict=True)
        ]
        return torch.tensor(done, device=ids_RS.device)


class _Drawn:
    """Scores whose largest is a draw: log-probabilities with Gumbel noise of the row's own seed."""

    def __init__(self, rows: Sequence[Asked]) -> None:
        import torch

        self._rows = rows
        self._generators = [torch.Generator().manual_seed(row.seed) for row in rows]

    def __call__(self, ids_RS: "Tensor", scores_RV: "Tensor") -> "Tensor":
        import torch

        out = scores_RV.clone()
        for row, (asked, generator) in enumerate(zip(self._rows, self._generators, strict=True)):
            if asked.temperature > 0:
                logp_V = (scores_RV[row].float() / asked.temperature).log_softmax(-1)
                noise_V = torch.empty(logp_V.shape).exponential_(generator=generator).log()
                kept_V = _nucleus(logp_V, asked.top_p)
                out[row] = (logp_V - noise_V.to(logp_V.device)).masked_fill(~kept_V, -torch.inf)
        return out


def _nucleus(logp_V: "Tensor", top_p: float) -> "Tensor":
    """Which tokens are in the smallest set that holds `top_p` of the probability."""
    import torch

    sorted_V, order_V = logp_V.sort(descending=True)
    before_V = sorted_V.exp().cumsum(-1) - sorted_V.exp()
    kept_V = torch.zeros_like(logp_V, dtype=torch.bool)
    kept_V[order_V] = before_V < top_p
    return kept_V
