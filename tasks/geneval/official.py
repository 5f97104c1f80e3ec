"""`geneval`: the 553 prompts, judged by a detector and CLIP as the released evaluator does."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field

from unimm_eval.api import (
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    TaskConfig,
    UserError,
    make_samples,
)
from unimm_eval.judges import clip_colors
from unimm_eval.judges.mask2former import VARIANTS, Variant, check_config
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.drawing import GENERATION, DrawingConfig, DrawingTask
from unimm_eval.tasks.geneval.aggregate import summary
from unimm_eval.tasks.geneval.judging import PictureJudge, scores
from unimm_eval.tasks.geneval.prompts import TAGS, Metadata, difference, metadata_of, read_prompts


class GenEvalConfig(DrawingConfig):
    detector: Literal["mask2former-official", "mask2former-hf"] = Field(
        "mask2former-official",
        description="which weights look at the pictures; mask2former-official is unverified",
    )
    images_per_prompt: int = Field(4, ge=1, description="pictures of each prompt")
    judge_device: str = Field("auto", description="where the detector and CLIP run")
    judge_batch_size: int = Field(8, ge=1, description="pictures of one size detected at once")


@runtime_checkable
class _Annotated(Protocol):
    """Pictures that came with what they were made for, as `images:` reads them."""

    def metadata_of(self, key: str) -> Any:
        """None where nothing came with them. Raises PictureError."""


class GenEval(DrawingTask):
    """Whether pictures show what their prompts say, as GenEval's released code decides it."""

    Config: ClassVar[type[TaskConfig]] = GenEvalConfig
    unpinned: ClassVar[frozenset[str]] = (
        frozenset({"limit", "judge_device", "judge_batch_size"}) | GENERATION
    )
    config: GenEvalConfig

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.config.detector]

    @cached_property
    def _prompts(self) -> list[Metadata]:
        return read_prompts(self.card, self.data_dir)

    def check(self) -> None:
        """Raise one UserError naming everything that is missing or wrong: prompts, weights."""
        problems: list[UserError] = []
        checks = (self._check_prompts, self._check_detector, self._check_colors, self._check_device)
        for step in checks:
            try:
                step()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )

    def _check_prompts(self) -> None:
        _ = self._prompts

    def _check_detector(self) -> None:
        check_config(self.variant.weights.find(self.data_dir))

    def _check_colors(self) -> None:
        clip_colors.WEIGHTS.find(self.data_dir)

    def _check_device(self) -> None:
        if self.config.judge_device != "auto":
            resolve_device(self.config.judge_device)

    @cached_property
    def _judge_identity(self) -> str:
        hashes = (
            f"{name} {weights.sha256(self.data_dir)[:16]}"
            for name, weights in (
                (self.variant.label, self.variant.weights),
                (clip_colors.WEIGHTS.name, clip_colors.WEIGHTS),
            )
        )
        return f"{super().judge_identity()}, {', '.join(hashes)}"

    def judge_identity(self) -> str:
        """Protocol, and name and hash of each network's weights."""
        return self._judge_identity

    def samples(self) -> Iterator[Sample]:
        """The prompts, the tags taking turns so that under `limit` each has some; `key` is the
        place in the benchmark's file, and the cluster."""
        keyed = [{"key": f"{index:05d}", **row} for index, row in enumerate(self._prompts)]
        columns = [[row for row in keyed if row["tag"] == tag] for tag in TAGS]
        rows = (row for row in chain.from_iterable(zip_longest(*columns)) if row is not None)
        return make_samples(
            ((row, row["key"]) for row in rows), repeats=self.config.images_per_prompt
        )

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """Pictures. One that says it was made for another prompt is an error."""
        asked = []
        for item in items:
            fault = _made_for_another(model, item) if isinstance(model, _Annotated) else ""
            if fault:
                yield Output(sample_id=item.sample.id, repeat=item.repeat, error=fault)
            else:
                asked.append(item)
        if asked:
            yield from super().produce(model, asked, ctx)

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Detector, colours, rules. The networks are there only as long as this runs."""
        judge = PictureJudge.load(self.variant, self.data_dir, device=self.config.judge_device)
        yield from scores(samples, outputs, judge, batch_size=self.config.judge_batch_size)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        pairs = list(zip(samples, scores, strict=True))
        return summary(pairs, facts={"detector": self.variant.label})

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        details = score.payload.get("details", {})
        seen = [f"{len(rows)} {name}" for name, rows in details.items()]
        return Exhibit(
            group=sample.inputs["tag"],
            prompt=sample.inputs["prompt"],
            correct=None if score.unscored else score.values["correct"] == 1.0,
            note=score.unscored or score.payload["reason"],
            shown=dict(output.media),
            facts={"seen": ", ".join(seen) or "nothing", "detector": self.variant.label},
        )

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """The official folders of pictures with their metadata, and the official `results.jsonl`;
        what could not be scored has its reason in `unscored.jsonl`."""
        lines: dict[str, list[str]] = {"results.jsonl": [], "unscored.jsonl": []}
        for sample, output, score in rows:
            key, metadata = sample.inputs["key"], metadata_of(sample.inputs)
            name = f"{key}/samples/{output.repeat:05d}.png"
            if output.repeat == 0:
                yield f"{key}/metadata.jsonl", json.dumps(metadata).encode()
            if "picture" in output.media:
                yield name, output.media["picture"]
            row: dict[str, Any] = {"filename": name}
            row |= {field: metadata[field] for field in ("tag", "prompt")}
            if score.unscored is None:
                row |= {
                    "correct": score.values["correct"] == 1.0,
                    "reason": score.payload["reason"],
                    "metadata": json.dumps(metadata),
                    "details": json.dumps(score.payload["details"]),
                }
                lines["results.jsonl"].append(json.dumps(row))
            else:
                row["unscored"] = score.unscored
                lines["unscored.jsonl"].append(json.dumps(row))
        for name, text in lines.items():
            if text:
                yield name, "".join(f"{line}\n" for line in text).encode()


def _made_for_another(model: _Annotated, item: Item) -> str:
    """Why the pictures of an item's prompt cannot be judged by it; "" if they can."""
    key = item.sample.inputs["key"]
    try:
        told = model.metadata_of(key)
    except PictureError as error:
        return error.what
    apart = "" if told is None else difference(told, item.sample.inputs)
    return f"the pictures of {key} were made for another prompt ({apart})" if apart else ""
