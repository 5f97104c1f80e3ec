"""Tasks whose outputs a model judges, and the settings they share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Sample, Score, Task, TaskConfig, UserError, canonical_json
from unimm_eval.judges.contract import Judge
from unimm_eval.judges.settings import JudgeSettings


class JudgedConfig(TaskConfig):
    """None of these is part of an output's identity; who judged, and with which options, is part of
    the protocol hash by `JudgedTask.judge_identity`."""

    judge: str | None = Field(
        None, description="who judges: openai:MODEL@URL, or a model as given to --model"
    )
    judge_options: dict[str, Any] | None = Field(
        None, description="sent along with every request; null: what the protocol sends"
    )
    judge_concurrency: int = Field(8, ge=1, le=512, description="requests at once")
    judge_requests_per_minute: float | None = Field(
        None, gt=0, description="at most so many requests a minute"
    )
    judge_tokens_per_minute: float | None = Field(
        None, gt=0, description="at most so many tokens a minute, in and out"
    )
    judge_price: tuple[float, float] | None = Field(
        None, description="US dollars for a million tokens in, and for a million out"
    )
    judge_tokens: tuple[float, float] | None = Field(
        None, description="tokens of a question in, and out, for the cost that --dry-run tells"
    )


class JudgedTask(Task):
    """A task whose `judge` step asks a model. The engine hands it in by `use_judge`."""

    Config: ClassVar[type[TaskConfig]] = JudgedConfig
    config: JudgedConfig
    unpinned: ClassVar[frozenset[str]] = frozenset(JudgedConfig.model_fields)
    judge_is_optional: ClassVar[bool] = False
    """Whether the task runs without a judge, what takes one being unscored."""
    _judge: Judge | None = None

    @property
    def wants_judge(self) -> bool:
        """Whether a judge is to be had: where it may be left out, only if one is named."""
        named = self.config.judge is not None or self._judge is not None
        return named or not self.judge_is_optional

    def use_judge(self, judge: Judge) -> None:
        self._judge = judge

    @property
    def judged_by(self) -> Judge | None:
        """The judge that was handed in."""
        return self._judge

    @property
    def the_judge(self) -> Judge:
        """The judge that was handed in. Raises UserError when there is none."""
        if self._judge is None:
            raise UserError(
                f"Task {self.card.name} has no judge.", fix=f"Name one with {self.judge_hint()}."
            )
        return self._judge

    def questions_about(self, sample: Sample) -> int:
        """How many questions the judge is asked about each output of `sample`."""
        return 1

    def cost_of(self, questions: int) -> float | None:
        """US dollars that so many questions would cost, by the price and the tokens that the user
        gives; None where one of them is not given."""
        if self.config.judge_price is None or self.config.judge_tokens is None:
            return None
        each = zip(self.config.judge_price, self.config.judge_tokens, strict=True)
        return questions * sum(price * tokens for price, tokens in each) / 1e6

    def judge_hint(self) -> str:
        """How the protocol's own judge is named on the command line."""
        official = self.card.settings.get("judge", "MODEL")
        return f"--set {self.card.name}.judge=openai:{official}@https://SERVER/v1"

    def judge_identity(self) -> str:
        """Protocol, the exact model, and options where they are not the protocol's."""
        identity = f"{super().judge_identity()} {self.the_judge.identity}"
        options = self.judge_settings().options
        if options != self._options_of_protocol():
            identity += f" {canonical_json(options)}"
        return identity

    def judge_settings(self) -> JudgeSettings:
        config = self.config
        options = config.judge_options
        return JudgeSettings(
            concurrency=config.judge_concurrency,
            requests_per_minute=config.judge_requests_per_minute,
            tokens_per_minute=config.judge_tokens_per_minute,
            options=self._options_of_protocol() if options is None else options,
        )

    def _options_of_protocol(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.card.settings.get("judge_options", {})
        return options

    def judging_facts(self, scores: Sequence[Score]) -> dict[str, Any]:
        """Who judged, in how many calls and tokens, and at which price, for a metric's facts.

        Counted are the answers that stand in payloads under `asked`: what a run that was stopped
        paid for answers it had to ask for again is not known.
        """
        facts: dict[str, Any] = {"judge": self.the_judge.identity}
        used = [usage for score in scores for usage in _usages(score.payload.get("asked", ()))]
        tokens = [sum(usage.get(name, 0) for usage in used) for name in _COUNTED]
        if used:
            facts |= {"judge_calls": len(used), "tokens_in": tokens[0], "tokens_out": tokens[1]}
        if used and self.config.judge_price:
            price_in, price_out = self.config.judge_price
            cost = (tokens[0] * price_in + tokens[1] * price_out) / 1e6
            facts["cost_usd"] = round(cost, 6)
        return facts


_COUNTED = ("prompt_tokens", "completion_tokens")


def _usages(logs: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, int]]:
    """Token counts of the answers in a payload, as the server reported them."""
    for log in logs:
        response = log.get("response")
        usage = response.get("usage") if isinstance(response, Mapping) else None
        counts = usage if isinstance(usage, Mapping) else {}
        yield {name: counts[name] for name in _COUNTED if isinstance(counts.get(name), int)}
