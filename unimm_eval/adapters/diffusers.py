"""`diffusers:`: text-to-image pipelines of diffusers, from the hub at a revision or from a folder.

A picture's random numbers come from a generator of its own, so what it is drawn with in a batch
changes nothing but last bits. Weights are read from safetensors alone, and no code of a repository
is run.
"""

import importlib.util
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters.hf_files import FromFiles, HubSource, Origin, refused
from unimm_eval.api import ImageRequest, PictureError, UserError

if TYPE_CHECKING:
    import numpy as np

PREFIX = "diffusers:"
INDEX = "model_index.json"
_FILES = (INDEX, "*/*.json", "*/*.jinja", "*/*.txt", "*/*.model", "*/*.safetensors")
_SKIPPED = ("*.fp16.*", "*.non_ema.*", "*.bf16.*")
"""The same weights again, in another precision."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_SETTINGS = ("prompt", "guidance_scale", "num_inference_steps", "generator")
_DENOISERS = ("transformer", "unet")


class DiffusersPipeline(FromFiles):
    """A pipeline with its own scheduler, safety checker and size of pictures, as it was published.

    `guidance_scale` is what the pipeline means by it: 1 is none for most, and a distilled model
    (FLUX.1) is shown the number.
    """

    summary = "text-to-image pipelines of diffusers, from the hub at a revision or from a folder"
    examples = (
        "diffusers:ORG/NAME",
        "diffusers:ORG/NAME@REVISION",
        "diffusers:path/to/folder",
    )
    capabilities = frozenset({"GeneratesImages"})

    def __init__(self, pipeline: Any, *, origin: Origin) -> None:
        """Raises UserError when the pipeline does not take what a picture is asked for with."""
        known = inspect.signature(pipeline.__call__).parameters
        if missing := [setting for setting in _SETTINGS if setting not in known]:
            raise UserError(
                f"{PREFIX}{origin.name}: {type(pipeline).__name__} takes no {', '.join(missing)}.",
                fix="Choose another pipeline.",
            )
        pipeline.set_progress_bar_config(disable=True)
        super().__init__(origin)
        self._pipeline = pipeline

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(PREFIX)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        _check_installed(spec)
        source = _source(spec)
        check_pipeline(source, source.fetch(weights=False), whole=source.is_folder)
        return cls.capabilities

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "DiffusersPipeline":
        """`dtype` "auto" is the one that the denoiser was saved in. Raises UserError."""
        _check_installed(spec)
        import diffusers
        import torch

        source = _source(spec)
        folder = source.fetch(weights=True)
        index = check_pipeline(source, folder, whole=True)
        precision = getattr(torch, _saved_dtype(folder) if dtype == "auto" else dtype)
        with refused(source):
            made: Any = diffusers.AutoPipelineForText2Image.from_pretrained(
                str(folder),
                torch_dtype=precision,
                use_safetensors=True,
                local_files_only=True,
                **_networks(source, folder, index, precision),
            )
            pipeline = made.to(device)
        return cls(pipeline, origin=source.origin(folder))

    def describe(self) -> Mapping[str, Any]:
        parts = self._pipeline.components
        modules = [part for part in parts.values() if hasattr(part, "parameters")]
        return {
            "parameters": sum(p.numel() for module in modules for p in module.parameters()),
            "pipeline": type(self._pipeline).__name__,
            "scheduler": type(parts.get("scheduler")).__name__,
            "safety_checker": parts.get("safety_checker") is not None,
            "dtype": str(self._pipeline.dtype).removeprefix("torch."),
            **self._origin.facts,
        }

    def generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        """In batches of equal settings. Raises UserError for a solver that is asked for, since the
        scheduler is the pipeline's own; PictureError for a picture that the safety checker blacked
        out."""
        groups: dict[tuple[float, int], list[int]] = {}
        for row, request in enumerate(requests):
            if request.solver != "euler":
                raise UserError(
                    f"{self.name} has its own scheduler; {request.solver} cannot be asked for.",
                    fix="Leave the task's setting solver out.",
                )
            key = (request.guidance_scale, request.num_inference_steps)
            groups.setdefault(key, []).append(row)
        found: dict[int, np.ndarray] = {}
        for rows in groups.values():
            found.update(zip(rows, self._draw([requests[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(requests))]

    def _draw(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        import numpy as np
        import torch

        # On the CPU whatever the device is: the same noise everywhere.
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        drawn = self._pipeline(
            prompt=[request.prompt for request in requests],
            guidance_scale=requests[0].guidance_scale,
            num_inference_steps=requests[0].num_inference_steps,
            generator=generators,
            output_type="np",
        )
        flagged = getattr(drawn, "nsfw_content_detected", None) or [False] * len(requests)
        for request, hidden in zip(requests, flagged, strict=True):
            if hidden:
                raise PictureError(
                    f"sample {request.sample_id}: the pipeline's safety checker hid the picture"
                )
        arrays = np.asarray(drawn.images)
        return list((arrays.clip(0.0, 1.0) * 255).round().astype(np.uint8))


def check_pipeline(source: HubSource, folder: Path, *, whole: bool) -> dict[str, Any]:
    """The index: it is one of a text-to-image pipeline and, where the files should be `whole`,
    each of its parts is there in safetensors. Raises UserError."""
    where = f"{source.prefix}{source.place}"
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        kind = index["_class_name"]
    except OSError as error:
        raise UserError(
            f"{where} is no pipeline of diffusers: it has no {INDEX}.", fix=source.fix
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: {INDEX} is not that of a pipeline.", fix=source.fix) from error
    if not isinstance(kind, str) or kind not in _text_to_image():
        raise UserError(
            f"{where}: {kind} is no pipeline that diffusers makes pictures of text with.",
            fix="Choose a text-to-image pipeline.",
        )
    for part in _parts(index) if whole else ():
        if not any((folder / part).glob("*")):
            raise UserError(f"{where}: the files of its {part} are missing.", fix=source.fix)
        if any((folder / part).glob("*.safetensors")):
            continue
        if pickled := sorted(path.name for p in _PICKLES for path in (folder / part).glob(p)):
            raise UserError(
                f"{where}: its {part} has no weights in safetensors, only {pickled[0]}, and "
                "pickles are not read.",
                fix="Save it with save_pretrained, or choose a revision that has safetensors.",
            )
    return dict(index)


def _source(spec: str) -> HubSource:
    return HubSource.parse(spec, prefix=PREFIX, files=_FILES, skipped=_SKIPPED)


def _check_installed(spec: str) -> None:
    if importlib.util.find_spec("diffusers") is None:
        raise UserError(
            f"{spec} needs diffusers, which is not installed.",
            fix="pip install 'unimm-eval[diffusers]'",
        )


def _text_to_image() -> frozenset[str]:
    from diffusers.pipelines import auto_pipeline

    kinds = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    return frozenset(kind.__name__ for kind in kinds)


def _networks(
    source: HubSource, folder: Path, index: Mapping[str, Any], precision: Any
) -> dict[str, Any]:
    """The parts with weights, each with all of them: diffusers and transformers fill what a file
    lacks with random numbers, and a pipeline does not tell. Raises UserError."""
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    kinds: dict[str, Any] = {
        "diffusers": diffusers.ModelMixin,
        "transformers": transformers.PreTrainedModel,
    }
    found = {}
    for part in _parts(index):
        library, name = index[part]
        kind: Any = getattr(libraries.get(library), name, None)
        if not (isinstance(kind, type) and issubclass(kind, kinds[library])):
            continue
        network: Any = kind
        found[part], loading = network.from_pretrained(
            str(folder / part),
            torch_dtype=precision,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        if missing := sorted(loading["missing_keys"]):
            raise UserError(
                f"{source.prefix}{source.place}: its {part} lacks {len(missing)} weights, which "
                f"would be random: {missing[0]}, …",
                fix="Choose a whole pipeline.",
            )
    return found


def _parts(index: Mapping[str, Any]) -> list[str]:
    """Names of the parts that a pipeline has, each with its library and class in the index."""
    parts = [name for name, of in index.items() if isinstance(of, list) and len(of) == 2]
    return [name for name in parts if all(isinstance(text, str) for text in index[name])]


def _saved_dtype(folder: Path) -> str:
    """Name of the precision of the denoiser's first weight; float32 where there is none."""
    from safetensors import safe_open

    names = {"F16": "float16", "BF16": "bfloat16"}
    for part in _DENOISERS:
        for path in sorted((folder / part).glob("*.safetensors"))[:1]:
            with safe_open(path, framework="pt") as file:
                key = next(iter(file.keys()))
                return names.get(file.get_slice(key).get_dtype(), "float32")
    return "float32"
