"""An exact judge of world pictures: which shapes of which colours stand where.

1. A pixel is ink if its difference from the background, projected on the nearest palette
   direction, is at least `_INK` of that colour; connected ink is a segment.
2. A segment with two colours, or too long for one thing and with a waist, is cut.
3. Its colour is the palette direction nearest to its summed difference, so that blurred edges,
   noise and faint ink do not matter.
4. Its shape is the template, over shapes, sizes, shifts and sharp or soft edges, that fits best
   by least squares. The score is the share of what is seen there, two pixels around it included,
   that the thing on the background explains: blobs and textures are not things.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from unimm_eval.world.scenes import BACKGROUND, CANVAS, COLOR_NAMES, COLORS, SHAPES, SIZES
from unimm_eval.world.shapes import shape_mask

_INK = 0.4
_LEAST_AREA = 12  # pixels; the smallest thing, a small moon, covers 27
_LONGEST = max(SIZES.values()) + 2
_WAIST = 0.5  # of the widest row or column: where two things touch
_WINDOW = 19
_TEMPLATE_SIZES = range(min(SIZES.values()) - 1, max(SIZES.values()) + 2)
_EDGE_BLURS = (0.0, 0.8)  # standard deviation in pixels
_MARGIN = 2  # pixels around a thing that must be background
_LEAST_VISIBLE = 0.7  # of a thing's surroundings; the rest may belong to other things
_LEAST_SCORE = 0.8
_LEAST_CONTRAST = 0.5  # of the palette colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """A thing found: box (x1, y1, x2, y2) in pixels, x2 and y2 exclusive; score in 0..1."""

    shape: str
    color: str
    box: tuple[int, int, int, int]
    score: float


@cache
def _directions() -> tuple[np.ndarray, np.ndarray]:
    """(unit directions [8, 3], lengths [8]) from the background to the palette."""
    difference = np.array([COLORS[name] for name in COLOR_NAMES], np.float32)
    difference -= np.array(BACKGROUND, np.float32)
    lengths = np.linalg.norm(difference, axis=1)
    return difference / lengths[:, None], lengths


@cache
def _templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coverages [T, window^2], their squared norms [T], index of the shape [T])."""
    from scipy.ndimage import gaussian_filter

    covers, shapes = [], []
    for index, shape in enumerate(SHAPES):
        for size in _TEMPLATE_SIZES:
            canvas = np.zeros((CANVAS, CANVAS), np.float32)
            low = (CANVAS - size) // 2
            canvas[low : low + size, low : low + size] = shape_mask(shape=shape, size=size)
            x1, y1, x2, y2 = _box(canvas >= _INK)
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    box = (x1 + right, y1 + down, x2 + right, y2 + down)
                    for blur in _EDGE_BLURS:
                        soft = gaussian_filter(canvas, blur) if blur else canvas
                        covers.append(_window(soft / soft.max(), box).ravel())
                        shapes.append(index)
    bank = np.stack(covers)
    return bank, (bank**2).sum(axis=1), np.array(shapes)


def _segments(ink: np.ndarray, colors: np.ndarray) -> list[np.ndarray]:
    """Masks [32, 32] of single things: connected ink, cut by colour and at waists."""
    from scipy.ndimage import label

    found: list[np.ndarray] = []
    pending = [(ink, True)]
    while pending:
        mask, mixed = pending.pop()
        labels, count = label(mask)
        for number in range(1, count + 1):
            part = labels == number
            if part.sum() < _LEAST_AREA:
                continue
            if mixed and (parts := _cut_by_color(part, colors)):
                pending.extend((piece, False) for piece in parts)
            elif (pieces := _cut_at_waist(part)) is not None:
                pending.extend((piece, False) for piece in pieces)
            else:
                found.append(part)
    return found


def _cut_by_color(part: np.ndarray, colors: np.ndarray) -> list[np.ndarray]:
    """The pieces of a segment that has more than one colour, else nothing."""
    counts = np.bincount(colors[part], minlength=len(COLOR_NAMES))
    several = np.flatnonzero(counts >= max(_LEAST_AREA, 0.2 * counts.max()))
    return [part & (colors == color) for color in several] if len(several) > 1 else []


def _cut_at_waist(part: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Two pieces of a segment that is too long for one thing, if it has a waist."""
    for axis in (0, 1):
        profile = part.sum(axis=axis)
        start, stop = np.flatnonzero(profile)[[0, -1]]
        length = stop - start + 1
        if length <= _LONGEST:
            continue
        third = length // 3
        middle = profile[start + third : stop + 1 - third]
        if middle.min() > _WAIST * profile.max():
            continue
        waist = start + third + int(middle.argmin())
        before = np.zeros_like(part)
        before[(slice(None), slice(waist)) if axis == 0 else slice(waist)] = True
        return part & before, part & ~before
    return None


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of a mask, the last two exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _window(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """`image` [32, 32, ...] around the centre of `box`: [window, window, ...], zero outside."""
    x1, y1, x2, y2 = box
    padded = np.zeros((CANVAS + 2 * _WINDOW, CANVAS + 2 * _WINDOW, *image.shape[2:]), image.dtype)
    padded[_WINDOW : _WINDOW + CANVAS, _WINDOW : _WINDOW + CANVAS] = image
    top, left = (y1 + y2 + 1 - _WINDOW) // 2 + _WINDOW, (x1 + x2 + 1 - _WINDOW) // 2 + _WINDOW
    return padded[top : top + _WINDOW, left : left + _WINDOW]


def _grown(mask: np.ndarray) -> np.ndarray:
    """`mask` with its four-neighbours: the faint edge pixels of a segment."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def detect(picture: np.ndarray) -> list[Detection]:
    """Things in `picture` (uint8 [32, 32, 3]), the surest first; nothing in a blank or in noise."""
    if picture.shape != (CANVAS, CANVAS, 3) or picture.dtype != np.uint8:
        raise ValueError(
            f"a world picture is uint8 [{CANVAS}, {CANVAS}, 3], not {picture.dtype} "
            f"{list(picture.shape)}"
        )
    units, lengths = _directions()
    difference = picture.astype(np.float32) - np.array(BACKGROUND, np.float32)
    along = difference @ units.T
    colors = along.argmax(axis=2)
    segments = _segments(along.max(axis=2) / lengths[colors] >= _INK, colors)
    found = []
    for segment in segments:
        box = _box(segment)
        if max(box[2] - box[0], box[3] - box[1]) <= _LONGEST:
            color = int((units @ difference[segment].sum(axis=0)).argmax())
            found.append((segment, color, box))
    if not found:
        return []
    everything = np.logical_or.reduce(segments)
    covers = np.stack(
        [
            _window(np.where(_grown(segment), along[:, :, color].clip(min=0), 0), box).ravel()
            for segment, color, box in found
        ]
    )
    bank, norms, shapes = _templates()
    alike = covers @ bank.T
    best = (alike / np.sqrt(norms)).argmax(axis=1)
    detections = []
    for (segment, color, box), row, at in zip(found, alike, best, strict=True):
        x1, y1, x2, y2 = box
        near = np.zeros_like(segment)
        near[max(y1 - _MARGIN, 0) : y2 + _MARGIN, max(x1 - _MARGIN, 0) : x2 + _MARGIN] = True
        around = near.sum()
        near &= ~_grown(everything & ~segment)
        if near.sum() < _LEAST_VISIBLE * around:
            continue
        amplitude = row[at] / norms[at]
        drawn = (amplitude * bank[at]).reshape(_WINDOW, _WINDOW, 1) * units[color]
        seen = _window(np.where(near[:, :, None], difference, 0), box)
        drawn = np.where(_window(near, box)[:, :, None], drawn, 0)
        if amplitude < _LEAST_CONTRAST * lengths[color]:
            continue
        score = 1 - float(((seen - drawn) ** 2).sum() / (seen**2).sum())
        if score >= _LEAST_SCORE:
            detections.append(
                Detection(shape=SHAPES[shapes[at]], color=COLOR_NAMES[color], box=box, score=score)
            )
    return sorted(detections, key=lambda detection: -detection.score)
