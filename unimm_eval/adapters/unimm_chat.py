"""Our checkpoints as chat models: questions of text and pictures, answered in batches."""

from collections.abc import Callable, Sequence

from unimm_eval.api import ChatRequest, Picture
from unimm_eval.model.generate import (
    Prefixes,
    Prompt,
    Sampling,
    Session,
    choice_ids,
    choose_text,
    generate_text,
)
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    conversation,
    interleaved,
    prompt_document,
)
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel


class Chat:
    """Answers of one model. What stands before the last picture of a prompt, and the picture, is
    encoded once for all prompts that share it."""

    def __init__(
        self,
        model: UnifiedModel,
        tokenizer: Tokenizer,
        *,
        show: Callable[[Picture], PictureSegment],
        fits: Callable[[ChatRequest, int], None],
    ) -> None:
        """`show` makes a picture what the model is shown to understand it, `fits` raises
        SampleError when so many tokens are too many."""
        self._tokenizer, self._show, self._fits = tokenizer, show, fits
        self._config = model.config
        self._prefixes = Prefixes(model, pad=tokenizer.pad)

    def answers(self, requests: Sequence[ChatRequest]) -> list[str]:
        """Raises SampleError for a prompt that does not fit the model together with its answer,
        and for a picture that cannot be looked at."""
        found: dict[int, str] = {}
        for answer, chosen in ((self._choose, True), (self._write, False)):
            rows = [row for row, one in enumerate(requests) if (one.choices is not None) == chosen]
            if rows:
                found |= zip(rows, answer([requests[row] for row in rows]), strict=True)
        return [found[row] for row in range(len(requests))]

    def _choose(self, requests: Sequence[ChatRequest]) -> list[str]:
        """One of the choices of each request."""
        choices = [request.choices or () for request in requests]
        options = [choice_ids(self._tokenizer, texts) for texts in choices]
        room = [max(map(len, texts)) for texts in options]
        session = self._session(requests, room)
        chosen = choose_text(session, options)
        return [texts[index] for texts, index in zip(choices, chosen, strict=True)]

    def _write(self, requests: Sequence[ChatRequest]) -> list[str]:
        """Free text, up to a stop string, a control token or `max_new_tokens`."""
        room = [request.max_new_tokens for request in requests]
        stops = [[stop for stop in request.stop if stop] for request in requests]
        written = generate_text(
            self._session(requests, room),
            self._tokenizer,
            seeds=[request.seed for request in requests],
            max_new_tokens=room,
            sampling=[Sampling(temperature=one.temperature, top_p=one.top_p) for one in requests],
            finished=lambda row, ids: self._stops(stops[row], ids),
        )
        return [self._cut(stop, ids) for stop, ids in zip(stops, written, strict=True)]

    def _session(self, requests: Sequence[ChatRequest], room: Sequence[int]) -> Session:
        """A row a request, with room for so many new tokens."""
        prompts = [self._prompt(one, tokens) for one, tokens in zip(requests, room, strict=True)]
        return self._prefixes.session(prompts, new_tokens=room)

    def _prompt(self, request: ChatRequest, new_tokens: int) -> Prompt:
        """What is asked, up to and with the last picture apart from what follows it."""
        laid = self._laid(request)
        shown = [place for place, part in enumerate(laid) if isinstance(part, Picture)]
        room = self._config.max_length - new_tokens
        if not (shown or request.template or room < 1):
            laid = [_ids(laid)[-room:]]
        length = len(shown) * self._config.latent_tokens + len(_ids(laid))
        self._fits(request, length + new_tokens)
        if not shown:
            return Prompt(key=None, length=0, beginning=list, rest=_ids(laid))
        behind = _ids(laid[shown[-1] + 1 :])
        beginning = [*laid[: shown[-1] + 1], behind[:1]]  # with the `<eoi>` of the last picture
        return Prompt(
            key=tuple(p.content() if isinstance(p, Picture) else tuple(p) for p in beginning),
            length=length - len(behind) + 1,
            beginning=lambda: self._document(beginning),
            rest=behind[1:],
        )

    def _laid(self, request: ChatRequest) -> list[list[int] | Picture]:
        """Token ids and pictures of what is asked."""
        if not request.template:
            return interleaved(self._tokenizer, request.parts)
        asked = [*(turn.parts for turn in request.history), request.parts]
        return conversation(self._tokenizer, asked, [turn.answer for turn in request.history])

    def _document(self, laid: Sequence[list[int] | Picture]) -> Document:
        return prompt_document([self._show(p) if isinstance(p, Picture) else p for p in laid])

    def _stops(self, stops: Sequence[str], ids: Sequence[int]) -> bool:
        """Whether the newest token completes a stop string, which may begin within any before it.

        A token is at least one byte, so no stop string reaches further back than it has bytes.
        """
        if not stops:
            return False
        tail = self._tokenizer.decode(ids[-max(len(stop.encode()) for stop in stops) :])
        return any(stop in tail for stop in stops)

    def _cut(self, stops: Sequence[str], ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids)
        ends = [text.index(stop) for stop in stops if stop in text]
        return text[: min(ends)] if ends else text


def _ids(laid: Sequence[list[int] | Picture]) -> list[int]:
    """The one list of ids where there is no picture."""
    return [token for part in laid if isinstance(part, list) for token in part]
