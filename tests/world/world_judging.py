"""GenEval's rule on detections, and ways to spoil a picture; for the tests of this folder only."""

import numpy as np
from scipy.ndimage import gaussian_filter

from unimm_eval.world.captions import Metadata
from unimm_eval.world.detector import Detection, detect
from unimm_eval.world.scenes import BACKGROUND


def _centre(detection: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = detection.box
    return (x1 + x2) / 2, (y1 + y2) / 2


def _stands(first: Detection, direction: str, second: Detection) -> bool:
    dx, dy = np.subtract(_centre(first), _centre(second))
    if direction in ("left of", "right of"):
        return abs(dx) > abs(dy) and (dx < 0) == (direction == "left of")
    return abs(dy) > abs(dx) and (dy < 0) == (direction == "above")


def is_true(metadata: Metadata, picture: np.ndarray) -> bool:
    """Every included group is there in its number, colour and place, and no excluded one is."""
    found = detect(picture)
    groups: list[list[Detection]] = []
    for item in metadata["include"]:
        group = [d for d in found if d.shape == item["class"]]
        if "color" in item:
            group = [d for d in group if d.color == item["color"]]
        if "position" in item:
            direction, target = item["position"]
            group = [d for d in group if any(_stands(d, direction, t) for t in groups[target])]
        if len(group) < item["count"]:
            return False
        groups.append(group)
    return all(
        sum(d.shape == item["class"] for d in found) < item["count"]
        for item in metadata.get("exclude", ())
    )


def blurred(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur, standard deviation 0.7 pixels."""
    return np.rint(gaussian_filter(picture.astype(np.float32), (0.7, 0.7, 0))).astype(np.uint8)


def noisy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, standard deviation 12 of 255."""
    noise = rng.normal(0.0, 12.0, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def shifted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moved by one pixel in one of eight directions."""
    dy, dx = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x][rng.integers(8)]
    padded = np.full((34, 34, 3), BACKGROUND, np.uint8)
    padded[1:33, 1:33] = picture
    return padded[1 + dy : 33 + dy, 1 + dx : 33 + dx]
