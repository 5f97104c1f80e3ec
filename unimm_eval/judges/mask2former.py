"""Mask2Former as a detector of COCO's eighty classes, as mmdet 2.x runs it for instances.

Two sets of weights, which are never mixed: `mask2former-official` are those of GenEval's released
evaluator (mmdet's Swin-S, converted by `mask2former_mmdet`), `mask2former-hf` those of the hub's
checkpoint of the same size, which is of another training run. Both are looked at in the same way,
that of mmdet's configuration `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco`:

1. resize with the ratio kept, so that it fits into 1333 x 800 (bilinear, no antialiasing, rounded
   to whole pixel values as OpenCV does), pad right and below with gray 128 to a multiple of 32,
   normalize;
2. of all (query, class) pairs the 100 of the highest softmax probability, "no object" left out;
3. mask logits to the padded size, cut, to the size of the picture (bilinear both times); the mask
   is where they are above 0, the score is the class probability times the mean mask probability
   within the mask, the box goes from the first to one past the last pixel of the mask.

Arithmetic is full float32: TF32 changes which objects are found.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.judges.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

LONG_SIDE, SHORT_SIDE = 1333, 800
DIVISOR = 32
PAD_VALUE = 128.0
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
MAX_DETECTIONS = 100
_MASKS_AT_ONCE = 16  # float32 masks of full size, 67 MB at 1024 x 1024

# fmt: off
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""In the order of the class logits."""
_OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "tvmonitor": "tv",
    "hairdryer": "hairdrier",
}
"""Names in the hub's list of these classes → COCO's, both without spaces."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One set of weights. Until its detections were compared with reference outputs of the program
    it stands for, it is not `verified`, and its `label` says so wherever it is shown."""

    weights: Weights
    verified: bool

    @property
    def label(self) -> str:
        return self.weights.name if self.verified else f"{self.weights.name} (unverified)"


OFFICIAL_CHECKPOINT = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth"
HUB_REPO = "facebook/mask2former-swin-small-coco-instance"
VARIANTS: Mapping[str, Variant] = {
    "mask2former-official": Variant(
        weights=Weights(
            name="mask2former-official",
            files=("model.safetensors", "config.json"),
            obtain="unimm-eval data fetch geneval gets mmdet's checkpoint (about 280 MB); convert "
            "it once: python -m unimm_eval.judges.mask2former_mmdet [--data-dir DIR]\n"
            f"By hand: {OFFICIAL_CHECKPOINT} from download.openmmlab.com/mmdetection/v2.0/"
            "mask2former/, then the same with the file's path; it writes {folder}.",
        ),
        verified=False,
    ),
    "mask2former-hf": Variant(
        weights=Weights(
            name="mask2former-hf",
            files=("model.safetensors", "config.json"),
            repo=HUB_REPO,
            obtain="unimm-eval data fetch geneval gets them (276 MB). By hand: hf download "
            f"{HUB_REPO} config.json model.safetensors --local-dir {{folder}}",
        ),
        verified=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """`label` is the index of the class; `box` is left, top, right, bottom in whole pixels, right
    and bottom exclusive; `mask` is bool [bottom − top, right − left] on the detector's device."""

    label: int
    box: tuple[int, int, int, int]
    score: float
    mask: "Tensor"


class Mask2Former:
    """A loaded detector."""

    def __init__(self, model: Any, *, device: str) -> None:
        self._model = model.to(device).eval()
        self._device = device

    @classmethod
    def load(cls, folder: Path, *, device: str) -> "Mask2Former":
        """From a folder with `model.safetensors` and `config.json`. Raises UserError when they are
        not a Mask2Former of COCO's eighty classes, or lack a weight, or have one too many."""
        import torch
        from safetensors import SafetensorError
        from transformers import Mask2FormerForUniversalSegmentation

        check_config(folder)
        read: Any = Mask2FormerForUniversalSegmentation.from_pretrained
        try:
            with _quiet():
                model, report = read(
                    folder,
                    local_files_only=True,
                    use_safetensors=True,
                    dtype=torch.float32,
                    output_loading_info=True,
                )
        except (RuntimeError, ValueError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder / 'model.safetensors'} cannot be loaded: {error}",
                fix="Fetch or convert the weights again.",
            ) from error
        wrong = {
            kind: sorted(str(name) for name in report[kind] if not _is_idle(str(name)))
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        }
        if any(wrong.values()):
            told = "; ".join(f"{kind}: {', '.join(names[:3])}" for kind, names in wrong.items())
            raise UserError(
                f"{folder} does not hold the weights of its own config.json ({told}).",
                fix="Fetch or convert the weights again.",
            )
        return cls(model, device=device)

    def detect(
        self, pictures: Sequence[np.ndarray], *, floor: float = 0.0
    ) -> list[list[DetectedObject]]:
        """Objects of each picture, most probable class first. `pictures` are uint8 [height, width,
        3] of one size. Objects that score `floor` or less are left out, and since no score is above
        its class probability, nothing is computed for those that cannot reach it."""
        import torch

        height, width = pictures[0].shape[:2]
        if any(picture.shape != pictures[0].shape for picture in pictures):
            raise ValueError("pictures of one batch must be of one size")
        pixels_BHWC = torch.from_numpy(np.stack(pictures)).to(self._device)
        with torch.inference_mode(), full_float32():
            inputs_BCHW, inner = prepare(pixels_BHWC.permute(0, 3, 1, 2))
            outputs = self._model(pixel_values=inputs_BCHW)
            padded = (inputs_BCHW.shape[-2], inputs_BCHW.shape[-1])
            return [
                list(_objects(*logits, floor=floor, sizes=(padded, inner, (height, width))))
                for logits in zip(
                    outputs.class_queries_logits, outputs.masks_queries_logits, strict=True
                )
            ]


def check_config(folder: Path) -> None:
    """Raise UserError unless `config.json` tells of COCO's eighty classes in COCO's order: with
    another order everything would run, and nothing would be right."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not the configuration of a detector ({type(error).__name__}: {error}).",
            fix="Fetch or convert the weights again.",
        ) from error
    if [_plain(str(label)) for label in labels] != [_plain(name) for name in COCO_CLASSES]:
        raise UserError(
            f"{path} tells of {len(labels)} classes ({', '.join(map(str, labels[:3]))}, …) instead "
            f"of COCO's {len(COCO_CLASSES)} in their order.",
            fix="Use the checkpoint for instances of COCO.",
        )


def _plain(label: str) -> str:
    """Without spaces, and as COCO calls what other lists have other names for."""
    joined = label.replace(" ", "").lower()
    return _OTHER_NAMES.get(joined, joined)


def _is_idle(name: str) -> bool:
    """Whether a weight takes no part in what is detected: the loss's, the norm after the backbone
    (its feature maps have their own), and indices that follow from the window size."""
    return name.startswith("criterion.") or name.endswith(
        (".encoder.swin.layernorm.weight", ".encoder.swin.layernorm.bias", "_position_index")
    )


def resized(height: int, width: int) -> tuple[int, int]:
    """The size, with the ratio kept, that just fits into 1333 x 800, either way up."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def prepare(pixels_BCHW: "Tensor") -> tuple["Tensor", tuple[int, int]]:
    """uint8 pictures → (normalized, padded float32 [batch, 3, height, width], size before the
    padding)."""
    import torch
    from torch.nn import functional

    inner = resized(pixels_BCHW.shape[-2], pixels_BCHW.shape[-1])
    x_BCHW = pixels_BCHW.float()
    if inner != tuple(x_BCHW.shape[-2:]):
        x_BCHW = functional.interpolate(x_BCHW, size=inner, mode="bilinear", align_corners=False)
        x_BCHW = x_BCHW.round().clamp(0, 255)
    bottom, right = (-side % DIVISOR for side in inner)
    x_BCHW = functional.pad(x_BCHW, (0, right, 0, bottom), value=PAD_VALUE)
    mean, std = (
        torch.tensor(values, device=x_BCHW.device)[:, None, None] for values in (MEAN, STD)
    )
    return (x_BCHW - mean) / std, inner


def _objects(
    class_logits_QC: "Tensor",
    mask_logits_QHW: "Tensor",
    *,
    floor: float,
    sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
) -> Iterator[DetectedObject]:
    """Detected objects of one picture; `sizes` are its padded, its resized and its own."""
    probabilities = class_logits_QC.softmax(-1)[:, :-1]
    classes = probabilities.shape[1]
    flat = probabilities.flatten()
    best, index = flat.topk(min(MAX_DETECTIONS, len(flat)))
    index, best = index[best > floor], best[best > floor]
    for start in range(0, len(index), _MASKS_AT_ONCE):
        part = slice(start, start + _MASKS_AT_ONCE)
        query, label = index[part] // classes, index[part] % classes
        masks, means, boxes = _masks(mask_logits_QHW[query], sizes=sizes)
        scores = best[part] * means
        rows = zip(label.tolist(), boxes.tolist(), scores.tolist(), masks, strict=True)
        for name, (left, top, right, bottom), score, mask in rows:
            if score > floor:
                yield DetectedObject(
                    label=name,
                    box=(left, top, right, bottom),
                    score=score,
                    mask=mask[top:bottom, left:right].clone(),
                )


def _masks(
    logits_NHW: "Tensor", *, sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
) -> tuple["Tensor", "Tensor", "Tensor"]:
    """(masks, bool [n, height, width]; mean probability within each; boxes, int [n, 4], all 0 of an
    empty mask)."""
    import torch
    from torch.nn import functional

    padded, inner, size = sizes
    x = functional.interpolate(logits_NHW[None], size=padded, mode="bilinear", align_corners=False)
    x = x[..., : inner[0], : inner[1]]
    x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)[0]
    masks = x > 0
    means = (x.sigmoid() * masks).sum((1, 2)) / (masks.sum((1, 2)) + 1e-6)
    edges = []
    for axis in (1, 2):  # any over rows leaves columns: left and right; then top and bottom
        hit = masks.any(axis).to(torch.uint8)
        last = hit.shape[1] - hit.flip(1).argmax(1)
        edges.append((hit.argmax(1), last * hit.any(1)))
    (left, right), (top, bottom) = edges
    return masks, means, torch.stack((left, top, right, bottom), dim=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no report of idle weights: what matters is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 on any device: it moves scores across the thresholds."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
