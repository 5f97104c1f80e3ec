"""`openai:MODEL@URL`: a model behind any OpenAI-compatible server (vLLM, SGLang, a provider).

What the server offers is found by asking it: a chat, a completion that repeats its prompt with
log-probabilities, a picture. A server that reports another version than it did is another model.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters.openai_scores import ServerScores, echo_body, read_echo
from unimm_eval.adapters.openai_server import (
    CHAT,
    COMPLETIONS,
    IMAGES,
    MODELS,
    PREFIX,
    Server,
    ServerSpec,
)
from unimm_eval.adapters.settled import settled
from unimm_eval.api import (
    READS_PICTURES,
    ChatRequest,
    ImageRequest,
    Picture,
    SampleError,
    UserError,
    decode_picture,
    stable_hash,
)
from unimm_eval.judges.openai import picture_part, text_of
from unimm_eval.judges.session import NotOfferedError, Patience, RefusedError

if TYPE_CHECKING:
    import numpy as np

_PROBE_TRIES = 4
_MOST_STOPS = 4  # of OpenAI's; answers are cut here at the others
_PICTURE_TOKENS = 1000  # a guess for the pace, corrected by what the server reports
_PROBE_PICTURE = {"guidance_scale": 1.0, "num_inference_steps": 1, "seed": 0}
_FORMS = (
    ("response_format", "seed", "guidance_scale", "num_inference_steps"),
    ("response_format",),
    (),
)
"""What is sent of a picture's settings: as much as the server takes."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a server was found to offer.

    `versions` is what the model calls itself, by address; `root` where its weights are from, as the
    server says; `begins` whether a token is put before every text; `form` which settings of a
    picture are sent (None: pictures are not offered).
    """

    versions: Mapping[str, str]
    root: str = ""
    chats: bool = False
    completes: bool = False
    scores: bool = False
    begins: bool = False
    form: tuple[str, ...] | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        offered = {
            "GeneratesText": self.chats,
            READS_PICTURES: self.chats,  # a server that is shown none says so, sample by sample
            "ScoresText": self.scores,
            "GeneratesImages": self.form is not None,
        }
        return frozenset(name for name, there in offered.items() if there)


class OpenAIModel:
    """Has the methods of the capabilities that its server offers, and no others."""

    summary = "a model behind an OpenAI-compatible server: its text, likelihoods and pictures"
    examples = ("openai:MODEL@http://127.0.0.1:8000/v1", "openai:MODEL@URL?concurrency=16")
    capabilities = frozenset({"ScoresText", "GeneratesText", READS_PICTURES, "GeneratesImages"})

    def __init__(self, server: Server, offer: Offer) -> None:
        self._server = server
        self._offer = offer
        if offer.chats:
            self.generate_text = self._generate_text
        if offer.form is not None:
            self.generate_images = self._generate_images
        if offer.scores:
            scores = ServerScores(server, begins=offer.begins)
            self.score_continuations = scores.score_continuations
            self.score_documents = scores.score_documents

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(PREFIX)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        """Asks the server, but for no picture. Raises IncompleteError when it does not answer."""
        return find_offer(ServerSpec.parse(spec), draw=False).capabilities

    @classmethod
    def load(
        cls, spec: str, *, device: str, dtype: str, patience: Patience | None = None
    ) -> "OpenAIModel":
        """`device` is of no concern. Raises UserError, or IncompleteError when it does not
        answer."""
        if dtype != "auto":
            raise UserError(f"{spec}: the server chose the precision.", fix="Leave --dtype out.")
        parsed = ServerSpec.parse(spec)
        offer = find_offer(parsed, draw=True, patience=patience)
        return cls(Server(parsed, patience=patience, versions=offer.versions), offer)

    @property
    def name(self) -> str:
        return self._server.spec.model.split("/")[-1]

    @property
    def fingerprint(self) -> str:
        """Of URL, model, what it calls itself and where the server says its weights are from."""
        spec, offer = self._server.spec, self._offer
        parts = [spec.url, spec.model, dict(offer.versions), offer.root, list(offer.form or ())]
        return stable_hash(parts, length=64)

    def describe(self) -> Mapping[str, Any]:
        offer = self._offer
        return {
            "url": self._server.spec.url,
            "model": self._server.spec.model,
            "reported": dict(offer.versions),
            "weights": offer.root or None,
            "begins_texts": offer.begins if offer.scores else None,
            "picture_settings_sent": None if offer.form is None else list(offer.form),
        }

    def _generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        """In the server's chat template; among `choices` the one that the answer begins with.
        Raises SampleError for a request that is refused, UserError for text without a template
        where the server has no completions."""
        if any(not request.template for request in requests) and not self._offer.completes:
            raise UserError(
                f"{self.name} puts everything in its chat template, and cannot continue bare text.",
                fix="Leave that task out.",
            )
        return self._server.each(self._text, requests)

    def _text(self, request: ChatRequest) -> str:
        sampling: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
        }
        if request.temperature > 0:
            sampling |= {"top_p": request.top_p, "seed": request.seed}
        if request.stop:
            sampling["stop"] = list(request.stop[:_MOST_STOPS])
        tokens = _tokens_about(request)
        if not request.template:
            body = {"prompt": _bare(request), **sampling}
            answer = self._server.ask_for(request.sample_id, COMPLETIONS, body, tokens=tokens)
            return settled(str(answer["choices"][0].get("text") or ""), request)
        body = {"messages": _messages(request), **sampling}
        answer = self._server.ask_for(request.sample_id, CHAT, body, tokens=tokens)
        try:
            return settled(text_of(answer), request)
        except RefusedError as error:
            if answer["choices"][0].get("finish_reason") == "length":
                return ""  # all that it may write went into thoughts, which are no answer
            raise SampleError(f"Sample {request.sample_id}: {self.name}: {error}.") from error

    def _generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        """With as many of the settings as the server takes (`picture_settings_sent`). Raises
        SampleError for a prompt that is refused, PictureError for what is no picture."""
        return self._server.each(self._picture, requests)

    def _picture(self, request: ImageRequest) -> "np.ndarray":
        if request.solver != "euler":
            raise UserError(
                f"{self.name} has a solver of its own; {request.solver} cannot be asked for.",
                fix="Leave the task's setting solver out.",
            )
        settings = {
            "seed": request.seed,
            "guidance_scale": request.guidance_scale,
            "num_inference_steps": request.num_inference_steps,
        }
        body = _picture_body(request.prompt, settings, self._offer.form or ())
        answer = self._server.ask_for(request.sample_id, IMAGES, body)
        return _picture_of(answer, sample_id=request.sample_id)


def find_offer(spec: ServerSpec, *, draw: bool, patience: Patience | None = None) -> Offer:
    """Ask the server for what it may offer; with `draw` for a picture, too. Raises UserError when
    it offers nothing of use, IncompleteError when it does not answer."""
    server = Server(spec, patience=replace(patience or Patience(), tries=_PROBE_TRIES))
    offer = Offer(versions={})
    reasons: list[str] = []
    for probe in (_probe_chat, _probe_completions):
        try:
            offer = probe(server, offer)
        except (NotOfferedError, RefusedError) as error:
            reasons.append(error.what if isinstance(error, NotOfferedError) else str(error))
    try:
        offer = _probe_images(server, offer, draw=draw)
    except (NotOfferedError, RefusedError, SampleError) as error:
        reasons.append(error.what if isinstance(error, UserError) else str(error))
    if not offer.capabilities:
        raise UserError(
            f"The model {spec.model} at {spec.url} offers no chat, no log-probabilities of a "
            "prompt and no pictures:\n"
            + "\n".join(f"  {reason}" for reason in dict.fromkeys(reasons)),
            fix="Check the model's name and the URL, which ends before /chat/completions.",
        )
    return replace(offer, root=_root(server))


def _probe_chat(server: Server, offer: Offer) -> Offer:
    messages = [{"role": "user", "content": "Answer with the word yes."}]
    answer = server.ask(CHAT, {"messages": messages, "max_tokens": 16, "temperature": 0.0})
    return replace(offer, chats=True, versions=_with_version(offer, CHAT, answer))


def _probe_completions(server: Server, offer: Offer) -> Offer:
    """One letter is one token to every tokenizer, so a second one is put before the text."""
    plain = server.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1, "temperature": 0.0})
    offer = replace(offer, completes=True, versions=_with_version(offer, COMPLETIONS, plain))
    try:
        read_echo(server.ask(COMPLETIONS, echo_body("a b c d")))
        begins = len(read_echo(server.ask(COMPLETIONS, echo_body("a"))).tokens) > 1
    except (RefusedError, ValueError):
        return offer
    return replace(offer, scores=True, begins=begins)


def _probe_images(server: Server, offer: Offer, *, draw: bool) -> Offer:
    """An address that complains of a request without a prompt is there; only a picture that comes
    shows more, and costs."""
    with suppress(RefusedError):
        server.ask(IMAGES, {})
    if not draw:
        return replace(offer, form=_FORMS[0])
    refused = RefusedError("no picture")
    for form in _FORMS:
        try:
            answer = server.ask(IMAGES, _picture_body("a red circle", _PROBE_PICTURE, form))
        except RefusedError as error:
            refused = error
            continue
        _picture_of(answer, sample_id="probe")
        return replace(offer, form=form, versions=_with_version(offer, IMAGES, answer))
    raise refused


def _root(server: Server) -> str:
    """Where the server's list of models says that this one's weights are from; "" where there is
    no such list or it does not say."""
    try:
        listed = server.ask(MODELS, None)["data"]
    except (NotOfferedError, RefusedError):
        return ""
    found = [row for row in listed if isinstance(row, dict) and row.get("id") == server.spec.model]
    return str(found[0].get("root") or "") if found else ""


def _with_version(offer: Offer, address: str, answer: Mapping[str, Any]) -> dict[str, str]:
    reported = answer.get("model")
    return {**offer.versions, **({address: str(reported)} if reported else {})}


def _messages(request: ChatRequest) -> list[dict[str, Any]]:
    messages = []
    for turn in request.history:
        messages.append({"role": "user", "content": _content(turn.parts)})
        messages.append({"role": "assistant", "content": turn.answer})
    return [*messages, {"role": "user", "content": _content(request.parts)}]


def _content(parts: Sequence[str | Picture]) -> str | list[dict[str, Any]]:
    """Text alone as it is, which every server takes. Raises PictureError."""
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return [
        {"type": "text", "text": part} if isinstance(part, str) else picture_part(part)
        for part in parts
    ]


def _bare(request: ChatRequest) -> str:
    if any(isinstance(part, Picture) for part in request.parts):
        raise SampleError(
            f"Sample {request.sample_id} shows a picture outside of a chat, which a server of "
            "completions cannot be given."
        )
    return "".join(part for part in request.parts if isinstance(part, str))


def _tokens_about(request: ChatRequest) -> int:
    """What a request will cost, roughly: the pace reserves it before it is known."""
    parts = [part for turn in request.history for part in turn.parts] + list(request.parts)
    characters = sum(len(part) for part in parts if isinstance(part, str))
    pictures = sum(isinstance(part, Picture) for part in parts)
    return characters // 4 + _PICTURE_TOKENS * pictures + request.max_new_tokens


def _picture_body(prompt: str, settings: Mapping[str, Any], form: Sequence[str]) -> dict[str, Any]:
    known = {**settings, "response_format": "b64_json"}
    return {"prompt": prompt, "n": 1, **{name: known[name] for name in form}}


def _picture_of(answer: Mapping[str, Any], *, sample_id: str) -> "np.ndarray":
    """Raises PictureError when there is none in the answer."""
    row = answer["data"][0]
    data = row.get("b64_json") if isinstance(row, dict) else None
    if not isinstance(data, str):
        raise SampleError(f"Sample {sample_id}: the server's answer holds no picture.")
    try:
        found = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise SampleError(f"Sample {sample_id}: the server's picture is not base64.") from error
    return decode_picture(found, name=f"sample {sample_id}: the server's answer")
