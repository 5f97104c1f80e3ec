"""What `nwm` and its mini variant have in common: plan, measure, compare with baselines."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from unimm_eval.api import (
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    SampleError,
    Score,
    Task,
    TaskConfig,
)
from unimm_eval.tasks.drawing import GENERATION, DrawingConfig
from unimm_eval.tasks.nwm.baselines import BASELINES, baseline_errors, by_lot
from unimm_eval.tasks.nwm.candidates import Protocol
from unimm_eval.tasks.nwm.cem import Cem, Prior
from unimm_eval.tasks.nwm.distances import GoalDistance
from unimm_eval.tasks.nwm.metrics import angle_between, path_errors
from unimm_eval.tasks.nwm.planner import Denoising, Plan, Planner
from unimm_eval.tasks.nwm.summary import summary


class PlanningConfig(DrawingConfig):
    """How paths are planned, and (from DrawingConfig) how frames are made of noise."""

    protocol: Protocol = Field(
        "released", description="released: as NWM's code, defects and all; or corrected"
    )
    repeats: Literal["rollouts", "plans"] = Field(
        "rollouts",
        description="rollouts: the mean of num_repeats rollouts of each candidate (NWM); plans: "
        "num_repeats plans of one rollout each (the paper's F.1)",
    )
    num_repeats: int = Field(3, ge=1, description="rollouts of a candidate, or plans")
    num_samples: int = Field(120, ge=1, description="candidates an iteration")
    topk: int = Field(5, ge=1, description="nearest candidates that the next Gaussian is fitted to")
    opt_steps: int = Field(1, ge=1, description="iterations of the Cross-Entropy Method")
    horizon: int = Field(8, ge=2, description="waypoints to the goal; 8 are 2 s")
    rollout_stride: int = Field(1, ge=1, description="waypoints to a predicted frame")
    replan_every: int | None = Field(
        None, ge=1, description="waypoints after which the rest is planned anew; null: never"
    )
    max_sequences: int = Field(
        120, ge=1, description="rollouts that the model is asked for at once"
    )

    @model_validator(mode="after")
    def _possible(self) -> "PlanningConfig":
        if self.topk > self.num_samples:
            raise ValueError(f"topk is {self.topk}, more than num_samples, {self.num_samples}")
        if self.opt_steps > 1 and self.topk < 2:
            raise ValueError("topk is 1: no Gaussian is fitted to one candidate; use 2 or more")
        for name, steps in (("horizon", self.horizon), ("replan_every", self.replan_every)):
            if steps is not None and steps % self.rollout_stride:
                raise ValueError(
                    f"rollout_stride is {self.rollout_stride}: it does not divide {name}, {steps}"
                )
        return self


class PlanningTask(Task):
    """Paths that a model's predictions lead to a goal by, measured against the path driven.

    The inputs of a sample hold `trajectory`, `time` (frame of the last context picture), `goal`
    (frame), `spacing` (metres a waypoint) and `truth`, the poses [H][3] at the waypoints (waypoint
    units, radians), seen from the pose at `time`; or a `fault`, why there is nothing to plan.
    """

    Config: ClassVar[type[TaskConfig]] = PlanningConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "max_sequences"}) | GENERATION
    config: PlanningConfig

    @property
    @abstractmethod
    def prior(self) -> Prior:
        """What candidates are drawn from."""

    @property
    @abstractmethod
    def distance_label(self) -> str:
        """Name of the distance, with the hash of its weights."""

    @abstractmethod
    def open_distance(self, device: str) -> GoalDistance:
        """The distance, loaded. Raises UserError."""

    @abstractmethod
    def views(self, sample: Sample) -> tuple[Sequence[np.ndarray], np.ndarray]:
        """Context frames and goal of a sample, uint8 [height, width, 3], as the model sees them.
        Raises SampleError."""

    @property
    def planner(self) -> Planner:
        config = self.config
        return Planner(
            cem=Cem(
                num_samples=config.num_samples,
                topk=config.topk,
                opt_steps=config.opt_steps,
                protocol=config.protocol,
            ),
            prior=self.prior,
            horizon=config.horizon,
            stride=config.rollout_stride,
            replan_every=config.replan_every or config.horizon,
            rollouts=config.num_repeats if config.repeats == "rollouts" else 1,
            denoising=Denoising(
                guidance_scale=config.guidance_scale,
                num_inference_steps=config.num_inference_steps,
                solver=config.solver,
            ),
            max_sequences=config.max_sequences,
        )

    @property
    def plans_each(self) -> int:
        """Outputs of a sample."""
        return self.config.num_repeats if self.config.repeats == "plans" else 1

    def generation(self) -> Mapping[str, Any]:
        return {
            **self.config.model_dump(include=set(GENERATION)),
            "distance": self.distance_label,
        }

    def judge_identity(self) -> str:
        """The distance decides on plans: numbers by another are of another protocol."""
        return f"{super().judge_identity()}, {self.distance_label}"

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """A plan an item. Candidates and noise depend on the item's seed alone."""
        distance: GoalDistance | None = None
        planner = self.planner
        for item in items:
            ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
            try:
                if fault := item.sample.inputs.get("fault"):
                    raise PictureError(fault)
                context, goal = self.views(item.sample)
            except SampleError as error:
                yield Output(**ids, error=error.what)
                continue
            distance = distance or self.open_distance(ctx.device)
            plan = planner.plan(
                model,
                context,
                distance.to(goal),
                drawing=ctx.rng(item, "candidates"),
                noise=ctx.rng(item, "noise"),
            )
            yield Output(**ids, values=_as_values(plan), media=_media(plan, context, goal))

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Errors of the plan and of the baselines; no model and no picture is looked at."""
        for sample, output in zip(samples, outputs, strict=True):
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
                continue
            yield Score(**ids, values=self._errors(sample.inputs, output.values))

    def _errors(self, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, float]:
        truth_H3, poses_H3 = np.array(inputs["truth"]), np.array(values["poses"])
        truth_H2 = truth_H3[:, :2]
        own = path_errors(truth_H2, poses_H3[:, :2])
        first = [np.array(iteration["candidates"]) for iteration in values["searches"][0]]
        found = {
            "ate": own.ate,
            "rpe": own.rpe,
            "ate_m": own.ate * inputs["spacing"],
            "rpe_m": own.rpe * inputs["spacing"],
            "position": float(np.hypot(*(poses_H3[-1, :2] - truth_H2[-1]))),
            "yaw": angle_between(poses_H3[-1, 2], truth_H3[-1, 2]),
            "goal_distance": values["distance"],
            "ate_by_lot": by_lot(truth_H2, first[0], topk=self.config.topk),
        }
        for name, errors in baseline_errors(truth_H2, self.prior, first).items():
            found |= {f"{error}_{name}": value for error, value in asdict(errors).items()}
        return found

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        facts = {
            "distance": self.distance_label,
            "protocol": self.config.protocol,
            "repeats": f"{self.config.num_repeats} {self.config.repeats}",
        }
        return summary(list(zip(samples, scores, strict=True)), BASELINES, facts=facts)

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        names = ("ate", "rpe", "yaw", "goal_distance", "ate_straight", "ate_best")
        return Exhibit(
            group="plans",
            prompt=f"{inputs['trajectory']}, frame {inputs['time']} to {inputs['goal']}",
            note=score.unscored or "",
            shown=dict(output.media),
            facts={name: score.values[name] for name in names if name in score.values},
        )


def _as_values(plan: Plan) -> dict[str, Any]:
    """All that the plan was decided by, JSON-able."""
    return {
        "poses": plan.poses.tolist(),
        "distance": plan.distance,
        "searches": [
            [
                {"candidates": each.candidates.tolist(), "distances": each.distances.tolist()}
                for each in search
            ]
            for search in plan.searches
        ],
    }


def _media(plan: Plan, context: Sequence[np.ndarray], goal: np.ndarray) -> dict[str, Picture]:
    shown = {"now": context[-1], "goal": goal, "predicted": plan.frame}
    return {name: Picture(array=array) for name, array in shown.items()}
