"""`rollout:mini`: drives through the world's rooms, where the truth of every command is known."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import ClassVar

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    Exhibit,
    Output,
    Picture,
    Sample,
    Score,
    TaskConfig,
    make_samples,
    stable_hash,
)
from unimm_eval.api.actions import WASD, Motion
from unimm_eval.judges.frame_quality import qualities
from unimm_eval.tasks.rollout.driving import CONTEXT_FRAMES
from unimm_eval.tasks.rollout.film import Row, sheet
from unimm_eval.tasks.rollout.task import KEYS, RETURNS, RolloutConfig, RolloutTask
from unimm_eval.tasks.rollout.truth import NEAREST, driven
from unimm_eval.world.draw import rng_for
from unimm_eval.world.nwm_pictures import shown
from unimm_eval.world.rooms import Room, clearance, sample_room, view
from unimm_eval.world.rooms_motion import sample_path
from unimm_eval.world.rooms_words import SENTENCES

WORDS = ("go forward", "go back", "turn left", "turn right")


class RolloutMiniConfig(RolloutConfig):
    contexts: int = Field(32, ge=1, description="rooms, with one context each")
    num_inference_steps: int = Field(10, ge=1, description="solver steps of each picture")


class RolloutMini(RolloutTask):
    """Whether what is seen after a command is what would be seen."""

    Config: ClassVar[type[TaskConfig]] = RolloutMiniConfig
    config: RolloutMiniConfig
    words: ClassVar[tuple[str, ...]] = WORDS

    def samples(self) -> Iterator[Sample]:
        """Rooms of the test split in which every command that is tried has a free way; the room is
        the cluster."""
        free = (found for index in count() if (found := self._scene(index)) is not None)
        return make_samples(
            ({"room": room.to_json(), "poses": poses.tolist()}, stable_hash(room.to_json()))
            for room, poses in islice(free, self.config.contexts)
        )

    def _scene(self, index: int) -> tuple[Room, np.ndarray] | None:
        rng = rng_for(split="test", purpose="rollout:mini", index=index)
        room = sample_room(rng)
        poses = sample_path(rng, room, steps=CONTEXT_FRAMES - 1)
        passed = np.concatenate([driven(poses[-1], script) for script in self._scripts.values()])
        return (room, poses) if clearance(room, passed[:, :2]).min() >= NEAREST else None

    @property
    def _scripts(self) -> dict[str, list[Motion]]:
        """Motions of every script, by the beginning of the names of its frames."""
        away = self.config.steps_away
        scripts = {f"key_{key}": [WASD[key]] for key in KEYS}
        scripts |= {f"word_{number}": [SENTENCES[words]] for number, words in enumerate(WORDS)}
        for key, back in zip(RETURNS, RETURNS[::-1], strict=True):
            scripts[key] = [*[WASD[key]] * away, *[WASD[back]] * away]
        return scripts

    def context(self, sample: Sample) -> Sequence[np.ndarray]:
        room, poses = _room_and_poses(sample)
        return list(view(room, poses))

    def truth(self, sample: Sample) -> dict[str, np.ndarray]:
        """What would be seen, by the names of the output's media."""
        room, poses = _room_and_poses(sample)
        seen: dict[str, np.ndarray] = {}
        for name, script in self._scripts.items():
            frames = view(room, driven(poses[-1], script))
            names = [name] if len(script) == 1 else [f"{name}_{i}" for i in range(len(script))]
            seen |= dict(zip(names, frames, strict=True))
        return seen

    def measured(
        self, sample: Sample, context: Sequence[np.ndarray], frames: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        now, truth = context[-1], self.truth(sample)
        seen = {name: shown(frame, size=now.shape[0]) for name, frame in frames.items()}
        values: dict[str, float] = {}
        keys = [f"key_{key}" for key in KEYS]
        for key, (by_psnr, by_ssim) in zip(KEYS, _nearest(seen, truth, keys), strict=True):
            values |= {f"nearest:{key}": by_ssim, f"nearest_{key.lower()}": by_ssim}
            values[f"nearest_psnr:{key}"] = by_psnr
        words = [f"word_{number}" for number in range(len(WORDS))]
        for number, (_, by_ssim) in enumerate(_nearest(seen, truth, words)):
            values[f"nearest_words:{number}"] = by_ssim
        each = ("nearest", *(f"nearest_{key.lower()}" for key in KEYS), "nearest_psnr")
        values |= {f"chance:{name}": 1 / len(KEYS) for name in each}
        values["chance:nearest_words"] = 1 / len(WORDS)
        away = self.config.steps_away
        for key in RETURNS:
            far, back = f"{key}_{away - 1}", f"{key}_{2 * away - 1}"
            (at_far, frozen, at_back, away_from), _ = qualities(
                [seen[far], now, seen[back], seen[far]], [truth[far], truth[far], now, now]
            )
            values |= {
                f"away_psnr:{key}": at_far,
                f"back_psnr:{key}": at_back,
                f"back_gain:{key}": at_back - away_from,
            }
            values["chance:away_psnr"] = values.get("chance:away_psnr", 0) + frozen / len(RETURNS)
        values["chance:back_gain"] = 0.0
        return values

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        values = score.values
        pictures = {}
        if score.unscored is None:
            pictures = {"commands": _page(self.context(sample), output, self.truth(sample))}
        return Exhibit(
            group="rooms",
            prompt=", ".join((*KEYS, *WORDS)),
            correct=None if score.unscored else bool(values["nearest_w"]),
            note=score.unscored or "",
            shown=pictures,
            facts={name: value for name, value in values.items() if name.endswith(("W", "S"))},
        )


def _page(
    context: Sequence[np.ndarray], output: Output, truth: Mapping[str, np.ndarray]
) -> Picture:
    """Each command's frame above the true one, from the same context."""
    names = [f"key_{key}" for key in KEYS] + [f"word_{number}" for number in range(len(WORDS))]
    captions = ["now", *KEYS, *WORDS]
    predicted = [context[-1], *(output.media[name].load() for name in names)]
    true = [None, *(truth[name] for name in names)]
    rows = [
        Row(title="predicted", frames=predicted, captions=captions),
        Row(title="true", frames=true, captions=captions),
    ]
    return Picture(array=sheet(rows))


def _nearest(
    seen: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], names: Sequence[str]
) -> list[tuple[float, float]]:
    """For each name whether the frame seen is nearer to its own true frame than to that of every
    other name, by PSNR and by SSIM."""
    pairs = [(own, other) for own in names for other in names]
    found = qualities([seen[own] for own, _ in pairs], [truth[other] for _, other in pairs])
    by_psnr, by_ssim = (np.reshape(values, (len(names), len(names))) for values in found)
    return [(_wins(by_psnr[row], row), _wins(by_ssim[row], row)) for row in range(len(names))]


def _wins(values: np.ndarray, own: int) -> float:
    return float((values[own] > np.delete(values, own)).all())


def _room_and_poses(sample: Sample) -> tuple[Room, np.ndarray]:
    return Room.from_json(sample.inputs["room"]), np.array(sample.inputs["poses"])
