"""Questions to a server, and its answers into a journal."""

import hashlib
import math
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.judges import Answer, Question
from unimm_eval.judges.openai import OpenAIJudge
from unimm_eval.judges.session import Patience
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.train.tools.journal import Journal
from unimm_eval.train.tools.skipped import Skipped

Watch = Callable[[str, int, int, int], None]
"""Told what is being done, rows done, rows in all, rows skipped."""


def silent(doing: str, done: int, total: int, skipped: int) -> None:
    """Watches nothing."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How text is drawn. The defaults are the paper's (appendix G.2)."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise UserError(f"temperature is {self.temperature}; it is 0 or more.")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top-p is {self.top_p}; it is above 0 and at most 1.")
        if self.max_new_tokens < 1:
            raise UserError(f"max-new-tokens is {self.max_new_tokens}; it is 1 or more.")

    def seed_of(self, key: str) -> int:
        """What the server draws the answer to a question by: 31 bits of (seed, key)."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{key}".encode()).digest()[:4]) >> 1


@dataclass(frozen=True, kw_only=True)
class Server:
    """A vision-language model behind an OpenAI-compatible server, `openai:MODEL@URL`, and the
    limits that it is asked within."""

    spec: str
    limits: JudgeSettings = field(default_factory=JudgeSettings)
    patience: Patience = field(default_factory=Patience)

    def client(self, *, temperature: float, top_p: float) -> OpenAIJudge:
        """The judges' client, drawing as said. Raises UserError."""
        options = {"temperature": temperature, "top_p": top_p, **self.limits.options}
        settings = JudgeSettings(
            concurrency=self.limits.concurrency,
            requests_per_minute=self.limits.requests_per_minute,
            tokens_per_minute=self.limits.tokens_per_minute,
            options=options,
        )
        return OpenAIJudge(self.spec, settings, patience=self.patience)

    @property
    def gives_up_after(self) -> int:
        """Questions in a row without an answer after which no more are asked."""
        return 2 * self.limits.concurrency + self.patience.failures_in_a_row


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about a row: the key of its answer in the journal, and the row's place."""

    key: str
    place: str


def ask(
    client: OpenAIJudge,
    questions: Iterable[Question],
    *,
    journal: Journal,
    read: Callable[[str], Any],
    skipped: Skipped,
    total: int,
    doing: str,
    give_up_after: int,
    watch: Watch,
) -> None:
    """Ask `questions`, whose keys are `Asked`, and keep in the journal what `read` makes of each
    answer; it raises ValueError for one that cannot be used, whose row is then skipped.

    Raises IncompleteError when the server was down: the same call goes on. Raises UserError when
    too many rows are skipped.
    """
    done = len(journal)
    down: list[str] = []
    down_in_a_row = 0
    with closing(client.answers(questions)) as answers:  # type: ignore[type-var]
        for answer in answers:
            asked: Asked = answer.key
            if answer.outage:
                down.append(f"{asked.place}: {answer.error}")
                down_in_a_row += 1
                if down_in_a_row >= give_up_after:
                    break
                continue
            down_in_a_row = 0
            done += 1
            try:
                journal.add(asked.key, _kept(answer, read))
            except ValueError as error:
                skipped.add(asked.place, str(error))
                skipped.check_early(rows=done, total=total)
            watch(doing, done, total, len(skipped.reasons))
    if down:
        raise IncompleteError(
            f"The server did not answer about {len(down):,} rows that it was asked about, "
            f"first {down[0]}.",
            fix="What was answered is kept. See to the server; then the same command goes on.",
        )


def _kept(answer: Answer, read: Callable[[str], Any]) -> dict[str, Any]:
    if answer.text is None:
        raise ValueError(answer.error)
    try:
        value = read(answer.text)
    except ValueError as error:
        raise ValueError(f"the answer {error}") from error
    choice = answer.log["response"]["choices"][0]
    return {"value": value, "finish_reason": choice.get("finish_reason")}
