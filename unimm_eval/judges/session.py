"""Requests to one server: paced, repeated where that can help, and every failure told apart."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from unimm_eval.api import UserError
from unimm_eval.judges.limits import Pace
from unimm_eval.judges.settings import JudgeSettings

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "UNIMM_EVAL_JUDGE_KEY"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on asking. Tests shorten it; nobody else has a reason to."""

    tries: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_pause_s: float = 600.0
    timeout_s: float = 180.0
    failures_in_a_row: int = 4
    clock: Callable[[], float] = time.monotonic


class _TransientError(Exception):
    """Asking again may help."""


class OutageError(Exception):
    """The server does not answer."""


class NotOfferedError(UserError):
    """The server has no such address, or no such model there."""


class RefusedError(Exception):
    """The server answered, and will not answer this question."""

    def __init__(self, reason: str, *, response: Any = None) -> None:
        super().__init__(reason)
        self.response = response


@dataclass(kw_only=True)
class Session:
    """One client's connections, pace and count of failures in a row. `answers_in` is the key of
    the list that makes a success an answer: "choices" of a chat, "data" of embeddings. `role` is
    who is asked, and `key_variable` where its key is from, as messages name them."""

    url: str
    name: str
    key: str | None = field(repr=False)
    expected: str | None
    settings: JudgeSettings
    patience: Patience
    answers_in: str = "choices"
    role: str = "judge"
    key_variable: str = KEY_VARIABLE
    stop: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0

    def __enter__(self) -> "Session":
        import httpx

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._client = httpx.Client(headers=headers, timeout=self.patience.timeout_s)
        self._pace = Pace(
            requests_per_minute=self.settings.requests_per_minute,
            tokens_per_minute=self.settings.tokens_per_minute,
            clock=self.patience.clock,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, body: Mapping[str, Any] | None, *, tokens: int) -> dict[str, Any]:
        """The server's answer to `body`, or what it shows where there is none (a GET). Raises
        OutageError, RefusedError, or UserError, which is NotOfferedError where nothing is there."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        retrying = Retrying(
            retry=retry_if_exception_type(_TransientError),
            stop=stop_after_attempt(self.patience.tries),
            wait=lambda state: self._back_off(state.attempt_number),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            response = retrying(self._once, body, tokens)
        except (_TransientError, OutageError) as error:
            self._failures += 1
            raise OutageError(str(error)) from error
        self._failures = 0
        return response

    def _back_off(self, attempt: int) -> float:
        longest = self.patience.first_wait_s * 2.0 ** (attempt - 1)
        return random.uniform(0.0, min(longest, self.patience.longest_wait_s))

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise OutageError("the run was stopped")

    def _once(self, body: Mapping[str, Any] | None, tokens: int) -> dict[str, Any]:
        import httpx

        if self._failures >= self.patience.failures_in_a_row:
            raise OutageError("it had not answered several questions before")
        self._sleep(self._pace.seconds_to_wait(tokens))
        try:
            method = "GET" if body is None else "POST"
            answer = self._client.request(method, self.url, json=body)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise UserError(f"The {self.role}'s {self.url} is not a URL: {error}.") from error
        except httpx.RequestError as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from error
        document = _json_of(answer)
        if answer.status_code != 200:
            raise self._failure(answer, document)
        self._check(document)
        used = _tokens_used(document)
        if used is not None:
            self._pace.settle(reserved=tokens, used=used)
        assert isinstance(document, dict)
        return document

    def _failure(self, answer: "httpx.Response", document: Any) -> Exception:
        """What an answer that is no success means."""
        status = answer.status_code
        reason = self.scrubbed(f"{status} {_message_of(document)}".strip())
        if status == 429 and "insufficient_quota" in json.dumps(document):
            return UserError(
                f"The account of the {self.role} {self.name} is empty: {reason}.",
                fix="Fill it; then the same command goes on.",
            )
        if status in (408, 425, 429) or (status >= 500 and status != 501):
            after = _retry_after(answer)
            if after > self.patience.longest_pause_s:
                return OutageError(f"{reason}; it asks to wait {after:,.0f} s")
            self._pace.pause(after)
            return _TransientError(reason)
        if status in (401, 403):
            return UserError(
                f"The {self.role} {self.name} at {self.url} does not accept the key: {reason}.",
                fix=f"Set the environment variable {self.key_variable} to one that it does.",
            )
        if status in (402, 404, 405, 501) or status < 400:
            kind = NotOfferedError if status in (404, 405, 501) else UserError
            return kind(
                f"The {self.role} {self.name} cannot be asked at {self.url}: {reason}.",
                fix="Check the model's name and the URL (it ends before /chat/completions).",
            )
        return RefusedError(reason, response=self.scrubbed(document))

    def _check(self, document: Any) -> None:
        """Raises _TransientError for a success that is no answer of the expected model."""
        if not isinstance(document, dict) or not isinstance(document.get(self.answers_in), list):
            raise _TransientError(f"what it answers holds no {self.answers_in}")
        if not document[self.answers_in]:
            raise _TransientError("its answer is empty")
        model = document.get("model")
        if self.expected is not None and model and model != self.expected:
            raise _TransientError(f"it answers as {model}, before it was {self.expected}")

    def scrubbed(self, value: Any) -> Any:
        """A JSON-able value without the key."""
        if isinstance(value, str):
            return value.replace(self.key, "***") if self.key else value
        if isinstance(value, Mapping):
            return {key: self.scrubbed(item) for key, item in value.items()}
        return [self.scrubbed(item) for item in value] if isinstance(value, list) else value


def _json_of(answer: "httpx.Response") -> Any:
    """The document that an answer holds, or its text where it is none."""
    try:
        return answer.json()
    except ValueError:
        return answer.text[:2000]


def _tokens_used(document: Any) -> int | None:
    usage = document.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) else None


def _message_of(document: Any) -> str:
    """What an error document says, in one short line."""
    error = document.get("error", document) if isinstance(document, dict) else document
    text = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(text).split())[:300]


def _retry_after(answer: "httpx.Response") -> float:
    """Seconds that `Retry-After` names, as a number or as a date; 0 without it."""
    value = answer.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
