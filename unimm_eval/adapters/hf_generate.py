"""Text of a transformers model, request by request as if each were alone in its batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
_ALONG = ("token_type_ids", "mm_token_type_ids")
"""What a processor says of each token: int [1, S], padded as the ids are."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt as ids, what is shown `beside` them, and how it is continued.

    `beside` holds tensors of a processor that was given this prompt alone: of each token (`_ALONG`)
    or of each picture (everything else: pixels, sizes, grids), along the first axis.
    """

    ids: Sequence[int]
    beside: Mapping[str, "Tensor"] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A model that continues ids. `generate` is transformers' own, or the model's."""

    model: Any
    tokenizer: Any
    pad: int
    generate: Callable[..., "Tensor"]


def continue_ids(writer: Writer, rows: Sequence[Asked], *, max_new_tokens: int) -> list[str]:
    """What follows each prompt, up to the end of an answer, `max_new_tokens` or the token that
    completes a stop string. Drawn tokens depend on the row's seed alone."""
    tokenizer = writer.tokenizer
    ends = _end_ids(writer.model, tokenizer)

    def ask(rows: Sequence[Asked]) -> list[str]:
        how: dict[str, Any] = {"eos_token_id": ends or None}
        if any(row.temperature > 0 for row in rows):
            how["logits_processor"] = [Drawn(rows)]
        if any(row.stop for row in rows):
            how["stopping_criteria"] = [_Stopped(rows, tokenizer, start=_width(rows))]
        made = generate(writer, rows, max_new_tokens=max_new_tokens, **how)
        return [tokenizer.decode(_until(ids, ends), skip_special_tokens=True) for ids in made]

    return _apart(rows, lambda picked: ask([rows[row] for row in picked]))


def choose(
    writer: Writer, rows: Sequence[Asked], options: Sequence[Sequence[list[int]]]
) -> list[int]:
    """Index of the option that greedy decoding takes when nothing else is allowed; of equal ones
    the first. No option of a row begins another."""

    def ask(picked: Sequence[int]) -> list[int]:
        some = [rows[row] for row in picked]
        start = _width(some)

        def allowed(row: int, ids_S: "Tensor") -> list[int]:
            made = ids_S[start:].tolist()
            depth = len(made)
            return [
                ids[depth]
                for ids in options[picked[row]]
                if ids[:depth] == made and len(ids) > depth
            ] or [writer.pad]

        longest = max(len(ids) for row in picked for ids in options[row])
        made = generate(
            writer,
            some,
            max_new_tokens=longest,
            eos_token_id=None,
            prefix_allowed_tokens_fn=allowed,
        )
        return [
            next(index for index, option in enumerate(options[row]) if ids[: len(option)] == option)
            for row, ids in zip(picked, made, strict=True)
        ]

    return _apart(rows, ask)


def generate(writer: Writer, rows: Sequence[Asked], **how: Any) -> list[list[int]]:
    """New ids of each row. Rows are padded on the left, so that all are continued at once."""
    import torch

    width = _width(rows)
    with torch.inference_mode():
        made_RS = writer.generate(
            **padded(writer, rows),
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=writer.pad,
            **how,
        )
    found: list[list[int]] = made_RS[:, width:].tolist()
    return found


def padded(writer: Writer, rows: Sequence[Asked]) -> dict[str, "Tensor"]:
    """Ids, their mask and what is shown beside them, of rows that go together."""
    import torch

    width = _width(rows)
    short = [width - len(row.ids) for row in rows]
    inputs = {
        "input_ids": [[writer.pad] * n + list(row.ids) for n, row in zip(short, rows, strict=True)],
        "attention_mask": [[0] * n + [1] * (width - n) for n in short],
    }
    found = {name: torch.tensor(values) for name, values in inputs.items()}
    for name in rows[0].beside:
        parts = [row.beside[name] for row in rows]
        if name in _ALONG:
            pad = torch.nn.functional.pad
            parts = [pad(part, (n, 0)) for part, n in zip(parts, short, strict=True)]
        found[name] = torch.cat(parts)
    model = writer.model
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in found.items()
    }


def _apart(rows: Sequence[Asked], ask: Callable[[list[int]], list[T]]) -> list[T]:
    """What `ask` says of the rows by their indices, those together whose pictures need no padding
    to be put into one tensor."""
    groups: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        shapes = {
            name: () if name in _ALONG else (value.dtype, *value.shape[1:])
            for name, value in row.beside.items()
        }
        groups.setdefault(tuple(sorted(shapes.items(), key=lambda item: item[0])), []).append(index)
    found: dict[int, T] = {}
    for picked in groups.values():
        found.update(zip(picked, ask(picked), strict=True))
    return [found[index] for index in range(len(rows))]


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


class Drawn:
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
                logits_V = _likeliest(scores_RV[row].float() / asked.temperature, asked.top_k)
                logp_V = logits_V.log_softmax(-1)
                noise_V = torch.empty(logp_V.shape).exponential_(generator=generator).log()
                kept_V = _nucleus(logp_V, asked.top_p)
                out[row] = (logp_V - noise_V.to(logp_V.device)).masked_fill(~kept_V, -torch.inf)
        return out


def _likeliest(logits_V: "Tensor", top_k: int | None) -> "Tensor":
    """Logits of which all but the `top_k` largest are −∞."""
    import torch

    if not top_k or top_k >= len(logits_V):
        return logits_V
    return logits_V.masked_fill(logits_V < logits_V.topk(top_k).values[-1], -torch.inf)


def _nucleus(logp_V: "Tensor", top_p: float) -> "Tensor":
    """Which tokens are in the smallest set that holds `top_p` of the probability."""
    import torch

    if top_p >= 1:
        return torch.ones_like(logp_V, dtype=torch.bool)
    sorted_V, order_V = logp_V.sort(descending=True)
    before_V = sorted_V.exp().cumsum(-1) - sorted_V.exp()
    kept_V = torch.zeros_like(logp_V, dtype=torch.bool)
    kept_V[order_V] = before_V < top_p
    return kept_V
