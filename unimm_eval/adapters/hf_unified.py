"""Models of transformers that write text and make pictures, one token after another.

The same weights do both. A picture's tokens are drawn by its request's own seed. With guidance each
request is two rows, the prompt's and an empty one's, and what is drawn from is u + s·(c − u) of
their logits c and u at guidance s.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unimm_eval.adapters.hf_files import HubSource, check_weights, read_config
from unimm_eval.adapters.hf_generate import Asked, Drawn, Writer
from unimm_eval.adapters.hf_vision import HubVision, load_parts, reads_pictures
from unimm_eval.api import READS_PICTURES, ImageRequest, SampleError, UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class HubUnified(HubVision, ABC):
    """A unified model: what a vision-language model does, and pictures.

    `num_inference_steps` means nothing here and changes nothing: a picture is as many steps as it
    has tokens.
    """

    prefix: ClassVar[str]
    """What its specs begin with."""
    model_type: ClassVar[str]
    """What transformers calls such a model."""
    capabilities = frozenset({"ScoresText", "GeneratesText", READS_PICTURES, "GeneratesImages"})

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(cls.prefix)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        source = HubSource.parse(spec, prefix=cls.prefix)
        folder = source.fetch(weights=False)
        cls._check(source, folder)
        if source.is_folder:
            check_weights(source, folder)
        return cls.capabilities

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "HubUnified":
        """`dtype` "auto" is the one that the checkpoint was saved in. Raises UserError."""
        source = HubSource.parse(spec, prefix=cls.prefix)
        folder = source.fetch(weights=True)
        config = cls._check(source, folder)
        model, processor = load_parts(source, folder, config, device=device, dtype=dtype)
        return cls(model, processor, origin=source.origin(folder))

    @classmethod
    def _check(cls, source: HubSource, folder: Path) -> Any:
        """The configuration, which is one of such a model. Raises UserError."""
        config = read_config(source, folder)
        if config.model_type != cls.model_type:
            raise UserError(
                f"{source.prefix}{source.place} is a {config.model_type}, and no "
                f"{cls.model_type}, which is what {cls.prefix} is for.",
                fix=f"A model that writes text is given as hf:{source.place}.",
            )
        if not reads_pictures(source, folder, config):
            raise UserError(
                f"{source.prefix}{source.place} lacks the processor of pictures or its chat "
                "template.",
                fix="Choose a whole checkpoint, with its processor.",
            )
        return config

    def describe(self) -> Mapping[str, Any]:
        return {
            **super().describe(),
            "picture_tokens": self._picture_tokens,
            "num_inference_steps": "no meaning: a picture is made token by token",
        }

    def generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        """Those with guidance together, and those without (1, the prompt alone). Raises UserError
        for a solver, since nothing is solved, and SampleError for a prompt that does not fit."""
        rows: dict[bool, list[int]] = {}
        for row, request in enumerate(requests):
            if request.solver != "euler":
                raise UserError(
                    f"{self.name} draws token by token; {request.solver} cannot be asked for.",
                    fix="Leave the task's setting solver out.",
                )
            rows.setdefault(request.guidance_scale != 1, []).append(row)
        found: dict[int, np.ndarray] = {}
        for guided, picked in rows.items():
            some = [requests[row] for row in picked]
            asked = [self._asked(request) for request in some]
            scales = [request.guidance_scale for request in some] if guided else None
            found.update(zip(picked, self._draw(asked, scales), strict=True))
        return [found[row] for row in range(len(requests))]

    @property
    @abstractmethod
    def _picture_tokens(self) -> int: ...

    @abstractmethod
    def _picture_prompt(self, prompt: str) -> list[int]:
        """Ids up to where a picture's tokens begin."""

    @abstractmethod
    def _draw(self, rows: Sequence[Asked], scales: Sequence[float] | None) -> "list[np.ndarray]":
        """uint8 pictures of the prompts, under guidance where there are `scales`."""

    @property
    def _writer(self) -> Writer:
        return Writer(
            model=self._model,
            tokenizer=self._tokens.tokenizer,
            pad=self._tokens.pad,
            generate=self._model.generate,
        )

    def _asked(self, request: ImageRequest) -> Asked:
        """As the checkpoint's own settings draw; where they say nothing, from the whole of the
        distribution. Raises SampleError."""
        how = self._model.generation_config
        ids = self._picture_prompt(request.prompt)
        needed = len(ids) + self._picture_tokens
        if needed > self._tokens.most:
            raise SampleError(
                f"Sample {request.sample_id} needs {needed:,} tokens, but {self.name} has room for "
                f"{self._tokens.most:,}.",
                fix="Leave it out, or judge a model with room for more.",
            )
        return Asked(
            ids=ids,
            temperature=how.temperature or 1.0,
            top_p=1.0 if how.top_p is None else how.top_p,
            top_k=how.top_k,
            seed=request.seed,
        )


class Guided:
    """Scores whose largest is a draw, of 2R rows: R prompts, then the empty ones beside them."""

    def __init__(self, rows: Sequence[Asked], scales: Sequence[float]) -> None:
        self._drawn = Drawn(rows)
        self._scales = scales

    def __call__(self, ids_S: "Tensor", scores_QV: "Tensor") -> "Tensor":
        """[R, V] of logits [2R, V]; what may not be drawn is −∞ in both."""
        import torch

        prompt_RV, empty_RV = scores_QV.float().chunk(2)
        scale_R1 = torch.tensor(self._scales, device=scores_QV.device)[:, None]
        guided_RV = empty_RV + scale_R1 * (prompt_RV - empty_RV)
        return self._drawn(ids_S, guided_RV.masked_fill(prompt_RV.isneginf(), -torch.inf))


def as_pictures(processor: Any, values_RHW3: "Tensor") -> "list[np.ndarray]":
    """uint8 pictures of what a decoder made in the processor's normalisation."""
    import numpy as np

    of = processor.image_processor
    values = values_RHW3.float().cpu().numpy() * np.array(of.image_std) + np.array(of.image_mean)
    return list((values.clip(0.0, 1.0) * 255).round().astype(np.uint8))
