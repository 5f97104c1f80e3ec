"""The numbers of paper §6.2 and E.8 from counts of choices; all of it exact arithmetic.

Shapes: L layers, E routed experts, T times; `...` stands for resamples, or for nothing. Counts may
be of any numeric type, and weighted. What has no value (the specialisation of an expert that no
token chose) is NaN.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

BORDER = 0.5
"""|S| above which an expert is one of text or vision: three times the other's rate (E.8)."""
TEXT, VISION, MULTIMODAL, DEAD = "text", "vision", "multimodal", "dead"
CLASSES = (TEXT, VISION, MULTIMODAL, DEAD)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Sums of choices: of the text of documents, of noisy pictures at each time, and of clean
    pictures. Without pictures the latter are None."""

    text: np.ndarray | None
    """[..., L, E]"""
    noisy: np.ndarray | None
    """[..., L, E, T]"""
    clean: np.ndarray | None
    """[..., L, E]"""


def rates(counts: np.ndarray) -> np.ndarray:
    """R = C / (N·k) of [..., E] (paper eq. 7): N·k is the sum over the experts of a layer."""
    with _undefined():
        return counts / counts.sum(axis=-1, keepdims=True)


def specialization(text: np.ndarray, image: np.ndarray) -> np.ndarray:
    """S = (R_text − R_image) / (R_text + R_image) of counts [..., E] (paper eq. 8)."""
    of_text, of_image = rates(text), rates(image)
    with _undefined():
        return (of_text - of_image) / (of_text + of_image)


def classes(score: np.ndarray) -> np.ndarray:
    """Index into `CLASSES` of each S (paper E.8); NaN is dead."""
    found = np.full(score.shape, CLASSES.index(MULTIMODAL))
    found[score > BORDER] = CLASSES.index(TEXT)
    found[score < -BORDER] = CLASSES.index(VISION)
    found[np.isnan(score)] = CLASSES.index(DEAD)
    return found


def time_variation(noisy: np.ndarray) -> np.ndarray:
    """Coefficient of variation over T of an expert's rates [..., E, T] → [..., E]: standard
    deviation (of the T values, not an estimate from them) over mean."""
    by_time = rates(noisy.swapaxes(-1, -2)).swapaxes(-1, -2)
    with _undefined():
        return by_time.std(axis=-1) / by_time.mean(axis=-1)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation over the last axis; NaN where one side is constant."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    spread = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    tiny = 1e-12  # rates sum to one: below it all are equal but for rounding
    with _undefined():
        return np.where(spread > tiny**2, (x * y).sum(axis=-1) / spread, np.nan).clip(-1, 1)


def load(choices: Choices) -> np.ndarray:
    """[..., L, E]: an expert's share of the choices, where each modality counts the same."""
    shown = [
        rates(counts)
        for counts in (
            choices.text,
            None if choices.noisy is None else choices.noisy.sum(axis=-1),
        )
        if counts is not None
    ]
    return np.mean(shown, axis=0)


def entropy(share: np.ndarray) -> np.ndarray:
    """Entropy over the last axis, over that of an even load: 1 is even, 0 one expert for all."""
    experts = share.shape[-1]
    if experts < 2:
        return np.full(share.shape[:-1], np.nan)
    with _undefined():
        return -np.where(share > 0, share * np.log(share), 0.0).sum(axis=-1) / np.log(experts)


def measures(choices: Choices) -> dict[str, np.ndarray]:
    """Every number that is a metric, over all layers: name → [...]."""
    share = load(choices)
    found = {
        "entropy": mean_of(entropy(share), axes=1),
        "max_load": (share.max(axis=-1) * share.shape[-1]).mean(axis=-1),
        "dead_experts": (share == 0).mean(axis=(-1, -2)),
    }
    if choices.text is None or choices.noisy is None or choices.clean is None:
        return found
    score = specialization(choices.text, choices.noisy.sum(axis=-1))
    kind = classes(score)
    variation = time_variation(choices.noisy)
    together = correlation(choices)
    assert together is not None
    return {
        "specialization": mean_of(np.abs(score), axes=2),
        "text_experts": (kind == CLASSES.index(TEXT)).mean(axis=(-1, -2)),
        "vision_experts": (kind == CLASSES.index(VISION)).mean(axis=(-1, -2)),
        "multimodal_experts": (kind == CLASSES.index(MULTIMODAL)).mean(axis=(-1, -2)),
        **found,
        "timestep_cv": mean_of(np.where(kind == CLASSES.index(VISION), variation, np.nan), axes=2),
        "generation_understanding": mean_of(together, axes=1),
    }


def correlation(choices: Choices) -> np.ndarray | None:
    """[..., L]: Pearson's, over the experts of a layer, of their rates for pictures that are made
    and that are understood; None without pictures."""
    if choices.noisy is None or choices.clean is None:
        return None
    return pearson(rates(choices.noisy.sum(axis=-1)), rates(choices.clean))


def mean_of(values: np.ndarray, *, axes: int) -> np.ndarray:
    """Mean over the last axes of what has a value; NaN where nothing has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing
        return np.nanmean(values, axis=tuple(range(-axes, 0)))


@contextmanager
def _undefined() -> Iterator[None]:
    """0/0 is NaN here, and is meant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        yield
