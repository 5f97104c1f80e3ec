"""Driving a model that predicts frames: any number of scripts from one context.

What is behind a context is remembered for so many actions; then a new one is opened on the last
frames, predicted ones among them, as NWM does after every frame. So a drive may be as long as one
likes, whatever the model was trained for.

Shapes: N scripts of A actions each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm_eval.api import Picture, PredictsFrames

CONTEXT_FRAMES = 4


def drive(
    model: PredictsFrames,
    context: Sequence[np.ndarray],
    scripts: Sequence[Sequence[str]],
    *,
    seeds: Sequence[int],
    remember: int,
    denoising: Mapping[str, Any],
) -> np.ndarray:
    """Frames uint8 [N, A, height, width, 3] of scripts, all of one length, at least 1.

    `context` are uint8 [height, width, 3] and opened once for all scripts; `seeds` has a number a
    script, and is what the first `remember` actions are drawn by: what follows has seeds made of
    it and of the number of the action. `denoising` is how a frame is made of noise. Raises
    ValueError for scripts of several lengths or without an action.
    """
    lengths = {len(script) for script in scripts}
    if len(lengths) != 1 or 0 in lengths or remember < 1:
        raise ValueError(f"scripts must have one length, at least 1, not {sorted(lengths)}")
    begun = [script[:remember] for script in scripts]
    driven = [list(frames) for frames in _rollout(model, context, begun, seeds, denoising)]
    for start in range(remember, lengths.pop(), remember):
        for frames, script, seed in zip(driven, scripts, seeds, strict=True):
            last = [*context, *frames][-len(context) :]
            part = [script[start : start + remember]]
            frames += list(_rollout(model, last, part, [later_seed(seed, start)], denoising)[0])
    return np.stack([np.stack(frames) for frames in driven])


def later_seed(seed: int, start: int) -> int:
    """63 bits for the actions from number `start` on."""
    words = np.random.SeedSequence([seed & 0xFFFFFFFF, seed >> 32, start]).generate_state(2)
    return (int(words[0]) << 32 | int(words[1])) >> 1


def _rollout(
    model: PredictsFrames,
    context: Sequence[np.ndarray],
    scripts: Sequence[Sequence[str]],
    seeds: Sequence[int],
    denoising: Mapping[str, Any],
) -> np.ndarray:
    opened = model.open_context([Picture(array=frame) for frame in context])
    return opened.rollout(scripts, seeds=list(seeds), keep="all", **denoising)
