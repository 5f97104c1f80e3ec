"""lm-eval's requests, put to a model under evaluation.

A request is [type, number of its text, …] as the child gives it: ["loglikelihood", text,
continuation], ["loglikelihood_rolling", text] or ["generate_until", text, generation kwargs]. A
response is [log-likelihood, is_greedy], a log-likelihood, or a text: what lm-eval's models return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval.api import (
    ChatRequest,
    ContinuationRequest,
    CountsTokens,
    DocumentRequest,
    UserError,
)

MAX_NEW_TOKENS = 256
"""Where a task does not say; lm-eval's number."""
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_GREEDY = frozenset({"top_k", "typical_p", "min_p"})
"""Of no effect where nothing is drawn."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The requests of one document, for one of its repeats."""

    sample_id: str
    repeat: int
    seed: int
    texts: Sequence[str]
    requests: Sequence[Sequence[Any]]

    @property
    def whose(self) -> dict[str, Any]:
        return {"sample_id": self.sample_id, "repeat": self.repeat, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Responses in the order of the requests, and how many of them stand on a context that lost
    its beginning (None where the model cannot count its tokens)."""

    responses: list[Any]
    truncated: int | None


def answer(model: Any, asked: Sequence[Asked]) -> list[Answered]:
    """Put all requests to the model, each kind of them at once."""
    places = [(row, number) for row, one in enumerate(asked) for number in range(len(one.requests))]
    kinds: dict[str, list[tuple[int, int]]] = {}
    for row, number in places:
        kinds.setdefault(asked[row].requests[number][0], []).append((row, number))
    found: dict[tuple[int, int], Any] = {}
    for kind, where in kinds.items():
        if kind not in _ASK:
            raise UserError(f"lm-eval asks for {kind!r}, which no model of ours answers.")
        made = _ASK[kind](
            model, [(asked[row], asked[row].requests[number]) for row, number in where]
        )
        found |= zip(where, made, strict=True)
    cut = _truncated(model, asked)
    return [
        Answered(
            responses=[found[row, number] for number in range(len(one.requests))],
            truncated=None if cut is None else cut[row],
        )
        for row, one in enumerate(asked)
    ]


def generation(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """lm-eval's generation arguments as ours, read as its own models do. No stop string is added.

    Raises UserError for one that would change the answer and that we have not.
    """
    kwargs = dict(kwargs)
    until = kwargs.pop("until", None) or []
    given = [kwargs.pop(name) for name in _LENGTHS if kwargs.get(name) is not None]
    sample = kwargs.pop("do_sample", None)
    temperature = kwargs.pop("temperature", None)
    if sample is None:
        sample = bool(temperature)
    top_p = kwargs.pop("top_p", None)
    left = {
        name: value
        for name, value in kwargs.items()
        if value is not None and not (name in _GREEDY and not sample) and name not in _LENGTHS
    }
    if left:
        raise UserError(
            f"lm-eval's task generates with {left}, which our models do not offer.",
            fix="Set such an argument to null: --set 'lm:TASK.gen_kwargs={NAME: null}'",
        )
    drawn = 1.0 if temperature is None else float(temperature)
    return {
        "stop": tuple(stop for stop in ([until] if isinstance(until, str) else until) if stop),
        "max_new_tokens": int(given[0]) if given else MAX_NEW_TOKENS,
        "temperature": drawn if sample else 0.0,
        "top_p": float(top_p) if sample and top_p is not None else 1.0,
    }


Put = Sequence[tuple[Asked, Sequence[Any]]]


def _continuations(model: Any, put: Put) -> list[Any]:
    requests = [
        ContinuationRequest(context=one.texts[text], continuation=continuation, **one.whose)
        for one, (_, text, continuation) in put
    ]
    return [[-score.nats, score.is_greedy] for score in model.score_continuations(requests)]


def _documents(model: Any, put: Put) -> list[Any]:
    length = model.describe().get("max_length") or 2**31
    requests = [
        DocumentRequest(text=one.texts[text], max_length=int(length), **one.whose)
        for one, (_, text) in put
    ]
    return [-score.nats for score in model.score_documents(requests)]


def _texts(model: Any, put: Put) -> list[Any]:
    requests = [
        ChatRequest(parts=(one.texts[text],), template=False, **one.whose, **generation(kwargs))
        for one, (_, text, kwargs) in put
    ]
    return list(model.generate_text(requests))


_ASK = {
    "loglikelihood": _continuations,
    "loglikelihood_rolling": _documents,
    "generate_until": _texts,
}


def _truncated(model: Any, asked: Sequence[Asked]) -> list[int] | None:
    """How many requests of each document have a context that does not fit the model as a whole."""
    length = model.describe().get("max_length")
    if length is None or not isinstance(model, CountsTokens):
        return None
    found = []
    for one in asked:
        cut = 0
        for kind, text, *rest in one.requests:
            whole, room = one.texts[text], int(length)
            if kind == "loglikelihood":
                whole, room = whole + rest[0], room + 1  # the last token is predicted, not given
            elif kind == "generate_until":
                room -= generation(rest[0])["max_new_tokens"]
            else:
                continue  # rolls over windows
            # A token is at least one byte: most texts need not be counted.
            if len(whole.encode("utf-8", "replace")) >= room:
                cut += model.count_tokens([whole])[0] > room
        found.append(cut)
    return found
