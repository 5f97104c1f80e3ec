"""mPLUG, the official judge of DPG-Bench: a network that answers questions about pictures.

The network is modelscope's (an extra), which reads its weights, a pickle, with torch's
`weights_only`. It is built here without modelscope's pipeline, which wants libraries for sound and
video; pictures and questions are prepared as that pipeline does: bicubic to the network's square,
CLIP's normalisation, lower case, 25 tokens. Its answers are words of its own; by the benchmark's
rule one that is exactly "yes" is a yes and every other one is a no.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from unimm_eval.api import Picture, PictureError, UserError, stable_hash
from unimm_eval.data import sha256_file
from unimm_eval.judges.contract import Answer, Question
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.judges.weights import resolve_device

NAME = "mplug"
MODEL = "damo/mplug_visual-question-answering_coco_large_en"
_FILES = (".bin", ".json", ".txt", ".yaml")
"""What an answer depends on: weights, configurations and vocabulary."""
_WEIGHTS = "pytorch_model.bin"
_CONFIG = "config.yaml"
_TASK = "visual-question-answering"
_MAX_TOKENS = 25
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

Ask = Callable[[Any, str], str]
"""What the network says of a PIL picture and a question."""


class MPlugJudge:
    """The network in `folder`; it is loaded when the first question comes."""

    summary: ClassVar[str] = "mPLUG by modelscope, DPG-Bench's official judge"
    examples: ClassVar[tuple[str, ...]] = (NAME, f"{NAME}:FOLDER")
    varies = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted(path for path in folder.iterdir() if path.suffix in _FILES)
        hashes = [[path.name, sha256_file(path)] for path in files]
        self.identity = f"{NAME} {MODEL} {stable_hash(hashes)}"

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec == NAME or spec.startswith(f"{NAME}:")

    @classmethod
    def open(cls, spec: str, settings: JudgeSettings) -> "MPlugJudge":
        """The judge in the named folder, else in modelscope's cache, into which it is fetched.

        No limit of `settings` applies to it. Raises UserError without modelscope or the weights.
        """
        if find_spec("modelscope") is None:
            raise UserError(
                "The judge mplug needs modelscope, which is not installed.",
                fix="pip install 'unimm-eval[modelscope]', or name another judge.",
            )
        named = spec.removeprefix(NAME).removeprefix(":")
        folder = Path(named).expanduser() if named else _fetched()
        if not (folder / _WEIGHTS).is_file():
            raise UserError(f"{folder} does not hold mPLUG: there is no {_WEIGHTS}.", fix=_OBTAIN)
        return cls(folder)

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """Answers in order. A picture that does not decode costs the questions about it."""
        ask: Ask | None = None
        shown: Picture | None = None
        image: Any = None
        for question in questions:
            picture, text = _asked(question)
            try:
                if picture is not shown:
                    image, shown = _image(picture), picture
            except PictureError as error:
                yield Answer(key=question.key, error=error.what)
                continue
            ask = ask or _load(self._folder)
            said = ask(image, text)
            yield Answer(
                key=question.key,
                text="yes" if said == "yes" else "no",
                log={"question": text, "response": said},
            )


_OBTAIN = (
    f"Where there is a network: modelscope download --model {MODEL} --local_dir FOLDER\n"
    f"Then name that folder: judge={NAME}:FOLDER"
)


def _fetched() -> Path:
    """Modelscope's own copy. Raises UserError when there is none and none can be fetched."""
    from modelscope.hub.snapshot_download import snapshot_download

    try:
        try:
            return Path(snapshot_download(MODEL, local_files_only=True))
        except ValueError:  # not in the cache
            return Path(snapshot_download(MODEL))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{MODEL} is not in modelscope's cache and cannot be fetched: {error}", fix=_OBTAIN
        ) from error


def _load(folder: Path) -> Ask:
    """Raises UserError when modelscope or what it needs besides cannot be used."""
    import torch

    try:
        from modelscope.models.multi_modal.mplug import MPlug, MPlugConfig, modeling_mplug
    except (ImportError, RuntimeError) as error:  # modelscope turns the one into the other
        raise UserError(
            f"modelscope cannot be used: {error}",
            fix="pip install 'unimm-eval[modelscope]', or name another judge.",
        ) from error
    _fill_gaps(modeling_mplug.BertPreTrainedModel)
    device = resolve_device("auto")
    with redirect_stdout(io.StringIO()):
        network = MPlug.from_pretrained(str(folder), task=_TASK).eval().to(device)
    side = MPlugConfig.from_yaml_file(str(folder / _CONFIG)).image_res

    def ask(image: Any, text: str) -> str:
        words = network.tokenizer(
            text.lower(),
            padding="max_length",
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            found, _ = network(_pixels(image, side).to(device), words.to(device), train=False)
        return str(network.tokenizer.decode(found[0][0], skip_special_tokens=True))

    return ask


def _pixels(image: Any, side: int) -> Any:
    """A PIL picture as a float tensor [1, 3, side, side]."""
    import numpy as np
    import torch
    from PIL import Image

    resized = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    normed = (resized - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return torch.from_numpy(normed).permute(2, 0, 1)[None]


def _fill_gaps(base: Any) -> None:
    """Give modelscope's base class what its networks want of it and transformers 5 lacks."""
    import torch

    def get_head_mask(self: Any, head_mask: Any, layers: int, *_: Any) -> list[None]:
        return [None] * layers

    def invert_attention_mask(self: Any, mask: Any) -> Any:
        shown = mask[:, None, None, :] if mask.dim() == 2 else mask[:, None, :, :]
        return (1 - shown.to(self.dtype)) * torch.finfo(self.dtype).min

    gaps = {
        "all_tied_weights_keys": {},
        "get_head_mask": get_head_mask,
        "invert_attention_mask": invert_attention_mask,
    }
    for name, value in gaps.items():
        if not hasattr(base, name):
            setattr(base, name, value)


def _asked(question: Question) -> tuple[Picture, str]:
    """The picture and the text of a question. Raises ValueError for other parts."""
    match question.parts:
        case (Picture() as picture, str(text)) | (str(text), Picture() as picture):
            return picture, text
    raise ValueError("mPLUG answers one question about one picture")


def _image(picture: Picture) -> Any:
    from PIL import Image

    return Image.fromarray(picture.load())
