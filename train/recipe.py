"""A recipe: everything a training run depends on, read from a YAML file."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from unimm_eval.api import UserError, stable_hash
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.encoders import (
    Encoder,
    MissingWeights,
    check_widths,
    encoder_from_json,
    encoder_identity,
)
from unimm_eval.train.budget import with_steps
from unimm_eval.train.data.schema import SourceSpec
from unimm_eval.train.inherit import read_values
from unimm_eval.train.places import root_of_data, under
from unimm_eval.world import FAMILIES, TAGS

_EXAMPLE = "See train/recipes/demo.yaml."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerRecipe(_Strict):
    """AdamW and its schedule: linear warm-up, then `linear` (constant, and linear decay to a floor
    over the last `decay_steps`) or `cosine` (from the peak to the floor, over all other steps)."""

    learning_rate: float = Field(gt=0, description="peak")
    schedule: Literal["linear", "cosine"] = Field("linear", description="form of the decay")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's moment decay rates")
    weight_decay: float = Field(0.1, ge=0, description="on matrices only")
    warmup_steps: int = Field(ge=0)
    decay_steps: int = Field(
        0, ge=0, description="last steps, over which the rate falls; of schedule: linear"
    )
    final_fraction: float = Field(0.05, ge=0, le=1, description="of the peak, at the end")
    max_grad_norm: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _one_decay(self) -> "OptimizerRecipe":
        if self.schedule == "cosine" and self.decay_steps:
            raise ValueError("decay_steps means nothing with schedule: cosine; leave one")
        return self


WORLD_SOURCES = (
    "text",
    "text_to_image",
    "inventory_to_image",
    "image_to_text",
    "inventory",
    "noisy_inventory",
    "elements",
    "chat",
    "rooms",
    "short_rooms",
)
"""What a mixture may draw from the embedded world, without end."""


class LogitNormal(_Strict):
    """Training times whose logit is normal: t = σ(mean + std·N), before the shift. In data time: a
    mean above 0 is nearer to the picture (the noise-time mean of others with its sign changed)."""

    mean: float = Field(0.0, description="of the logit")
    std: float = Field(1.0, gt=0, description="of the logit")


class Stage(_Strict):
    """What is mixed from a step on, until the next stage begins."""

    from_step: int = Field(ge=0, description="first step of the stage")
    mixture: dict[str, float] = Field(
        description="share of each source in tokens, of the world or declared; they sum to 1"
    )
    answer_weight: float = Field(
        1.0, gt=0, description="of an answer's token in the mean over text tokens"
    )
    flow_weight: float | None = Field(
        None, gt=0, description="λ_flow of eq. 3 in this stage, where it is not the recipe's"
    )
    logit_normal: LogitNormal | None = Field(
        None, description="law of the times in this stage, where it is not the recipe's"
    )
    families: dict[str, float] | None = Field(
        None,
        description="how often a chat begins with a question of a family; 1 where not named",
    )
    tags: dict[str, float] | None = Field(
        None, description="how often prompts of a tag are drawn from; never where not named"
    )

    @field_validator("mixture")
    @classmethod
    def _shares(cls, mixture: dict[str, float]) -> dict[str, float]:
        total = sum(mixture.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}, not 1")
        if any(share < 0 for share in mixture.values()):
            raise ValueError("a share is negative")
        return mixture

    @field_validator("tags")
    @classmethod
    def _known_tags(cls, tags: dict[str, float] | None) -> dict[str, float] | None:
        if unknown := sorted(set(tags or {}) - set(TAGS)):
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(TAGS)}")
        if tags is not None and not (min(tags.values(), default=0) >= 0 < sum(tags.values())):
            raise ValueError("weights are not negative, and one is more than 0")
        return tags

    @field_validator("families")
    @classmethod
    def _known_families(cls, families: dict[str, float] | None) -> dict[str, float] | None:
        if unknown := sorted(set(families or {}) - set(FAMILIES)):
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(FAMILIES)}")
        if any(weight < 0 for weight in (families or {}).values()):
            raise ValueError("a weight is negative")
        return families


class Centering(_Strict):
    """Loss weights that make both losses equal to a running centre (paper appendix D.2)."""

    alpha: float = Field(0.5, ge=0, le=1, description="α of eq. 5: the flow loss's part")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="μ of the running centre; DINO's, the paper gives none"
    )


_NOT_IDENTITY = {
    "name",
    "steps",
    "save_every",
    "parent",
    "ancestors",  # the parent's fingerprint covers them
    "max_bad_records",
    "cache",
    "latents",
    "skip_steps",  # those that were skipped so far are added
}
"""Fields that decide no weight."""

_DROPPED_AT_DEFAULT = ("context_noise", "clean_share", "trained")
"""Fields that enter a recipe's identity only where they are not the default."""


class Recipe(_Strict):
    """What is trained on what."""

    name: str = Field(description="name of the run")
    seed: int = Field(0, ge=0, description="of weights and data")
    steps: int = Field(gt=0, description="optimizer steps in all")
    rows: int = Field(gt=0, description="packed rows a step")
    length: int = Field(gt=0, description="tokens a row")
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="of weights in the forward pass; masters are fp32"
    )
    model: dict[str, Any] = Field(description="fields of ModelConfig")
    encoder: dict[str, Any] = Field(
        description="kind (raw_pixels where there is none) and fields of the encoder"
    )
    tokenizer: str | None = Field(
        None,
        description="a copy of LLaMA-3's: its file, folder, or ORG/NAME in the hub's cache; "
        "otherwise one is trained on the world, or comes with the parent",
    )
    sources: dict[str, SourceSpec] = Field(
        default_factory=dict, description="data of the user, by the names that stages give them"
    )
    max_bad_records: float = Field(
        0.01, ge=0, le=1, description="share of a source's records that may be left out as unusable"
    )
    cache: str | None = Field(
        None, description="folder that what is measured of sources is kept in; else the run's"
    )
    latents: str | None = Field(
        None, description="folder that `unimm-train encode` wrote; else pictures are encoded anew"
    )
    stages: tuple[Stage, ...] = Field(min_length=1, description="data, from step 0 on")
    text_weight: float = Field(1.0, ge=0, description="λ_LM of eq. 3")
    flow_weight: float = Field(3.0, ge=0, description="λ_flow of eq. 3")
    centering: Centering | None = Field(
        None, description="loss weights from the losses, instead of text_weight and flow_weight"
    )
    balance_weight: float = Field(0.01, ge=0, description="of the router's auxiliary loss")
    condition_dropout: float = Field(0.1, ge=0, lt=1, description="captions left out, for guidance")
    logit_normal: LogitNormal | None = Field(
        None, description="law of the training times before the shift, instead of the uniform one"
    )
    context_noise: Literal["paper", "clean"] = Field(
        "clean",
        description="pictures that a caption follows: noised, with flow loss, or shown at t = 1; "
        "those that questions are asked about are always clean",
    )
    clean_share: float = Field(
        1.0, ge=0, le=1, description="of them that context_noise: clean shows clean"
    )
    parent: str | None = Field(
        None, description="folder of the checkpoint that training begins from, or `demo`"
    )
    parent_fingerprint: str | None = Field(
        None, description="of the parent; filled in in a run's copy of its recipe"
    )
    ancestors: tuple[str, ...] = Field(
        (), description="fingerprints that the parent came from; filled in likewise"
    )
    trained: Literal["all", "adapter"] = Field(
        "all", description="which weights: all, or the projections that pictures come in by"
    )
    optimizer: OptimizerRecipe
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the weights' moving average, such as 0.9999"
    )
    skip_steps: tuple[PositiveInt, ...] = Field(
        (), description="steps, as the log counts them, whose batches are not trained on"
    )
    save_every: int = Field(500, gt=0, description="steps between saved states")

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        begins = [stage.from_step for stage in self.stages]
        if begins[0] != 0 or any(a >= b for a, b in pairwise(begins)):
            raise ValueError(f"stages: they begin at {begins}, not at 0 and ever later steps")
        if taken := sorted(set(self.sources) & set(WORLD_SOURCES)):
            raise ValueError(f"sources: {', '.join(taken)} is a source of the world; rename yours")
        known = [*self.sources, *WORLD_SOURCES]
        for number, stage in enumerate(self.stages):
            if missing := sorted(set(stage.mixture) - set(known)):
                raise ValueError(
                    f"stages.{number}.mixture: no source {', '.join(missing)}; "
                    f"there are {', '.join(known)}"
                )
        config, encoder = self.model_config_(), self.encoder_()
        check_widths(encoder, config)
        if self.length > config.max_length:
            raise ValueError(f"length {self.length} is more than max_length {config.max_length}")
        if self.optimizer.warmup_steps + self.optimizer.decay_steps > self.steps:
            raise ValueError("warmup_steps and decay_steps are more than steps")
        fixed = [self.text_weight, self.flow_weight, *(s.flow_weight for s in self.stages)]
        if self.centering is not None and fixed != [1.0, 3.0] + [None] * len(self.stages):
            raise ValueError("text_weight and flow_weight mean nothing with centering; leave one")
        clean = self.context_noise == "clean" and self.clean_share == 1.0
        if config.understanding_channels and not clean:
            raise ValueError("context_noise: a dual encoder reads clean pictures only")
        if self.context_noise == "paper" and self.clean_share != 1.0:
            raise ValueError("clean_share means nothing with context_noise: paper; leave one")
        if self.parent is not None and self.tokenizer is not None:
            raise ValueError("tokenizer: a parent brings its own; leave one")
        if self.parent is None and self.trained != "all":
            raise ValueError(f"trained: {self.trained} needs a parent: all else is as it was made")
        if self.parent is None and self.parent_fingerprint is not None:
            raise ValueError("parent_fingerprint is given, but no parent")
        return self

    def model_config_(self) -> ModelConfig:
        return ModelConfig.from_json(dict(self.model))

    def encoder_(self) -> Encoder:
        return encoder_from_json({"kind": "raw_pixels", **self.encoder})

    def load_encoder(
        self, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32
    ) -> Encoder:
        """The encoder, on the CPU unless said otherwise, ready to encode. Raises UserError."""
        try:
            return self.encoder_().load(device=device or torch.device("cpu"), dtype=dtype)
        except MissingWeights as error:
            raise UserError(f"encoder: {error.what}", fix=error.fix) from error
        except ValueError as error:
            raise UserError(f"encoder: {error}") from error

    def with_weights(self) -> "Recipe":
        """The recipe with fingerprints of all frozen weights that it trains with. Raises UserError
        where one is not given and they have to be read, but are missing or do not fit."""
        if self.encoder_().pinned:
            return self
        return self.model_copy(update={"encoder": self.load_encoder().to_json()})

    def stage(self, step: int) -> int:
        """Index of the stage that `step` is in."""
        return max(i for i, stage in enumerate(self.stages) if stage.from_step <= step)

    def identity(self, step: int) -> str:
        """Hash of everything that decided the weights after `step` steps.

        Stages that had not begun, the length of the run and when its rate decays are left out, so
        that a run can be prolonged and what comes next can be changed. A parent, frozen weights and
        the sources that were drawn from enter by their fingerprints, wherever they lie.
        """
        assert self.parent is None or self.parent_fingerprint is not None
        values = self.model_dump(mode="json", exclude=_NOT_IDENTITY, exclude_none=True)
        for name in _DROPPED_AT_DEFAULT:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        values["encoder"] = encoder_identity(values["encoder"])
        values["optimizer"].pop("decay_steps")
        if self.optimizer.schedule == "linear":
            values["optimizer"].pop("schedule")
        else:  # the length of the run decides the rate of every step
            values["optimizer"]["steps"] = self.steps
        values["stages"] = [stage for stage in values["stages"] if stage["from_step"] < step]
        if skipped := sorted(skipped for skipped in self.skip_steps if skipped <= step):
            values["skip_steps"] = skipped
        used = {name for stage in values["stages"] for name in stage["mixture"]}
        sources = {name: self.sources[name].identity() for name in used & set(self.sources)}
        values.pop("sources")
        return stable_hash({**values, "sources": sources} if sources else values)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a file, with what it extends (`inherit.py`) and its length in steps
    (`budget.py`). Raises UserError that names the file and every field that is wrong."""
    values = read_values(path)
    if "sweep" in values:
        raise UserError(f"{path}: a study, not one recipe", fix="Give it to `unimm-train sweep`.")
    try:
        values = with_steps(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}", fix=_EXAMPLE) from error
    return parse_recipe(under(root_of_data(None), values), place=str(path))


def parse_recipe(values: dict[str, Any], *, place: str) -> Recipe:
    """Raises UserError that names `place` and every field that is wrong."""
    try:
        return Recipe(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'recipe'}: {item['msg']}"
            for item in error.errors()
        )
        raise UserError(f"{place}: {problems}", fix=_EXAMPLE) from error


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as the file that `load_recipe` reads."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
