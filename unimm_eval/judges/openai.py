"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, a provider.

What is guaranteed:

- a question is asked again when the server was busy (429), broken (5xx), silent (timeout), gone
  (connection lost) or answered what is no chat completion, with exponential back-off and full
  jitter, and not before the time that `Retry-After` names; never when the question itself was
  refused (another 4xx);
- when several questions in a row got nothing, the rest is given up at once: an outage takes
  minutes, not hours, and ends as unscored samples;
- what must be changed first (a wrong key, an unknown model, an empty account) is one UserError;
- the key is read from the environment, sent to the server and appears nowhere else.
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

from unimm_eval.api import (
    IncompleteError,
    Picture,
    PictureError,
    UserError,
    content_hash,
    encode_png,
)
from unimm_eval.judges.contract import Answer, Question
from unimm_eval.judges.session import (
    KEY_VARIABLE,
    OutageError,
    Patience,
    RefusedError,
    Session,
)
from unimm_eval.judges.settings import JudgeSettings

OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"
_OPENAI_HOST = "api.openai.com"
_SPEC = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://.+)")
_PICTURE_TOKENS = 1000  # a guess for the pace, corrected by what the server reports
_PROBE = "Answer with the word yes."
_PROBE_TRIES = 4  # a few seconds: somebody waits for the answer


class OpenAIJudge:
    """A model behind an OpenAI-compatible server."""

    summary: ClassVar[str] = "a model behind an OpenAI-compatible server (vLLM, a provider)"
    examples: ClassVar[tuple[str, ...]] = ("openai:Qwen3.5-35B-A3B@http://127.0.0.1:8000/v1",)
    varies = True

    def __init__(
        self, spec: str, settings: JudgeSettings, *, patience: Patience | None = None
    ) -> None:
        """Raises UserError when the spec or the environment is not as it must be."""
        self._asked_for, self._url = parse_spec(spec)
        self._settings = settings
        self._patience = patience or Patience()
        self._key = key_for(self._url)
        self._identity: str | None = None

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith("openai:")

    @classmethod
    def open(cls, spec: str, settings: JudgeSettings) -> "OpenAIJudge":
        judge = cls(spec, settings)
        judge.probe()
        return judge

    @property
    def identity(self) -> str:
        """The model as the server names it in its answers, which an alias may not tell."""
        if self._identity is None:
            self.probe()
        assert self._identity is not None
        return self._identity

    def probe(self) -> None:
        """Ask one short question: whether key, URL and model are right, and which model answers.

        Raises UserError, or IncompleteError when the server does not answer.
        """
        question = Question(key="probe", parts=(_PROBE,), max_new_tokens=16)
        hasty = replace(self._patience, tries=min(self._patience.tries, _PROBE_TRIES))
        with self._session(patience=hasty) as session:
            try:
                response = session.ask(self._body(question)[0], tokens=32)
            except OutageError as error:
                raise IncompleteError(
                    f"The judge {self._asked_for} at {self._url} does not answer: {error}.",
                    fix="Start the server or wait for it; then the same command goes on.",
                ) from error
            except RefusedError as error:
                raise UserError(
                    f"The judge {self._asked_for} at {self._url} refuses a question: {error}.",
                    fix="Does it take the options that the protocol sends? Others are given with "
                    "--set TASK.judge_options='{}'.",
                ) from error
        self._identity = str(response.get("model") or self._asked_for)

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        expected = self.identity
        with (
            self._session(expected=expected) as session,
            ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="judge") as pool,
        ):
            source = iter(questions)
            waiting: set[Future[Answer]] = set()
            try:
                while True:
                    room = 2 * self._settings.concurrency - len(waiting)
                    for question in islice(source, room):
                        waiting.add(pool.submit(self._answer, question, session))
                    if not waiting:
                        return
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                session.stop.set()
                pool.shutdown(cancel_futures=True)

    def _session(self, *, expected: str | None = None, patience: Patience | None = None) -> Session:
        return Session(
            url=f"{self._url}/chat/completions",
            name=self._asked_for,
            key=self._key,
            expected=expected,
            settings=self._settings,
            patience=patience or self._patience,
        )

    def _answer(self, question: Question, session: "Session") -> Answer:
        try:
            body, shown = self._body(question)
        except PictureError as error:
            return Answer(key=question.key, error=error.what)
        log: dict[str, Any] = {"request": shown}
        try:
            response = session.ask(body, tokens=_tokens_about(question))
            log["response"] = session.scrubbed(response)
            text = text_of(response)
        except RefusedError as error:
            log.setdefault("response", error.response)
            return Answer(key=question.key, error=f"the judge refused: {error}", log=log)
        except OutageError as error:
            return Answer(
                key=question.key, error=f"the judge was down: {error}", outage=True, log=log
            )
        return Answer(key=question.key, text=text, log=log)

    def _body(self, question: Question) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is sent, and the same for the log, with pictures by their SHA-256."""
        sent: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        for part in question.parts:
            if isinstance(part, str):
                sent.append({"type": "text", "text": part})
                shown.append(sent[-1])
                continue
            data = _png(part)
            sent.append({"type": "image_url", "image_url": {"url": _data_url(data)}})
            named = f"sha256:{content_hash(data)}"
            shown.append({"type": "image_url", "image_url": {"url": named}})
        return self._with_content(question, sent), self._with_content(question, shown)

    def _with_content(self, question: Question, content: list[dict[str, Any]]) -> dict[str, Any]:
        system = [{"type": "text", "text": question.system}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if question.system:
            messages.insert(0, {"role": "system", "content": system})
        return {
            "model": self._asked_for,
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": question.max_new_tokens,
            **({} if question.seed is None else {"seed": question.seed}),
            **self._settings.options,
        }


def parse_spec(
    spec: str, *, role: str = "judge", key_variable: str = KEY_VARIABLE
) -> tuple[str, str]:
    """(model, URL without a slash at its end) of `openai:MODEL@URL`. Raises UserError."""
    example = "Write openai:MODEL@URL, e.g. openai:Qwen3.5-35B-A3B@http://127.0.0.1:8000/v1."
    found = _SPEC.fullmatch(spec)
    if not found:
        raise UserError(f"The {role} {spec!r} has no URL.", fix=example)
    url = found["url"].rstrip("/")
    if "@" in url.split("/")[2]:
        raise UserError(
            f"The {role}'s URL holds a user or a password.",
            fix=f"Give the key in the environment variable {key_variable}. {example}",
        )
    return found["model"], url.removesuffix("/chat/completions")


def key_for(url: str, *, role: str = "judge", variable: str = KEY_VARIABLE) -> str | None:
    """The key of the server at `url`. OpenAI's own is sent to OpenAI alone. Raises UserError."""
    openai = url.split("/")[2] == _OPENAI_HOST
    key = os.environ.get(variable) or (os.environ.get(OPENAI_KEY_VARIABLE) if openai else None)
    if openai and not key:
        raise UserError(
            f"The {role} at api.openai.com needs a key.",
            fix=f"Set the environment variable {variable} or {OPENAI_KEY_VARIABLE}.",
        )
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"The {role}'s key holds spaces or characters that no key has.",
            fix=f"Set the environment variable {variable} to the key alone.",
        )
    return key


def picture_part(picture: Picture) -> dict[str, Any]:
    """A picture as a message holds it, as a data URL. Raises PictureError."""
    return {"type": "image_url", "image_url": {"url": _data_url(_png(picture))}}


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _png(picture: Picture) -> bytes:
    """PNG bytes of a picture, those of its file where it is one. Raises PictureError."""
    if picture.path is None or picture.path.suffix != ".png":
        return encode_png(picture.load())
    try:
        return picture.path.read_bytes()
    except OSError as error:
        raise PictureError(f"{picture.path}: cannot be read ({error.strerror})") from error


def _tokens_about(question: Question) -> int:
    """What a question will cost, roughly: the pace reserves it before it is known."""
    characters = len(question.system) + sum(len(p) for p in question.parts if isinstance(p, str))
    pictures = sum(not isinstance(part, str) for part in question.parts)
    return characters // 4 + _PICTURE_TOKENS * pictures + min(question.max_new_tokens, 64)


def text_of(response: Mapping[str, Any]) -> str:
    """The text of a chat completion. Raises RefusedError when there is none."""
    choice = response["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        why = choice.get("finish_reason") if isinstance(choice, dict) else None
        raise RefusedError(f"no text ({why or 'no reason given'})")
    return text
