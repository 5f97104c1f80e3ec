"""`probes:mini`: shape and colour of a thing, or a digit, read off the layers, on the world."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Picture, Sample, TaskConfig, make_samples, stable_hash
from unimm_eval.tasks.probes.probing import SPLITS
from unimm_eval.tasks.probes.task import ProbesConfig, ProbesTask

_DIGITS = tuple(str(digit) for digit in range(10))
_DIGIT_SIZE = 24


class ProbesMiniConfig(ProbesConfig):
    twin: bool = Field(True, description="probe the untrained twin too, where the model has one")
    train_pictures: int = Field(384, ge=10, description="training pictures of each kind")
    val_pictures: int = Field(128, ge=10, description="validation pictures of each kind")
    test_pictures: int = Field(256, ge=10, description="test pictures of each kind")
    decoder_pictures: int = Field(
        64, ge=0, description="pictures of each split whose tokens are decoded; 0: no PSNR"
    )
    learning_rates: tuple[float, ...] = Field(
        (4.0, 16.0, 64.0),
        min_length=1,
        description="of the classifiers, for features of variance 1 / width",
    )
    least_steps: int = Field(300, ge=1, description="steps of training where epochs are short")
    probe_batch_size: int = Field(256, ge=1, description="pictures a step of training sees")


class ProbesMini(ProbesTask):
    """Pictures of one thing, and of one handwritten digit, in equal numbers. Splits are the
    world's: a scan of a digit is in one of them alone."""

    Config: ClassVar[type[TaskConfig]] = ProbesMiniConfig
    config: ProbesMiniConfig

    def samples(self) -> Iterator[Sample]:
        """Splits and kinds mixed evenly, so that any limit has some of all."""
        return make_samples(row for _, row in sorted(self._rows(), key=lambda found: found[0]))

    def _rows(self) -> Iterator[tuple[float, tuple[dict[str, Any], str]]]:
        config = self.config
        counts = (config.train_pictures, config.val_pictures, config.test_pictures)
        for split, count in zip(SPLITS, counts, strict=True):
            decoded = config.decoder_pictures / (2 * count)
            for index in range(count):
                for kind, draw in enumerate((_thing, _digit)):
                    picture, labels, cluster = draw(split, index)
                    inputs: dict[str, Any] = {"picture": picture, "labels": labels, "split": split}
                    # Evenly spread: whenever the running share passes a whole number.
                    if int((index + 1) * decoded) > int(index * decoded):
                        inputs["decoder"] = True
                    place = (index + (kind + 1) / 3) / count
                    yield place, (inputs, cluster)

    def picture_of(self, sample: Sample) -> Picture:
        from unimm_eval.world import picture_from_json, render

        return Picture(array=render(picture_from_json(sample.inputs["picture"])))


Drawn = tuple[dict[str, Any], dict[str, str], str]
"""Description of a picture, its labels and its cluster."""


def _thing(split: Any, index: int) -> Drawn:
    """A shape in a colour somewhere; every eighth picture shows the same shape."""
    from unimm_eval.world import rng_for
    from unimm_eval.world.scenes import COLOR_NAMES, SHAPES, arrange

    rng = rng_for(split=split, purpose="probes:mini/thing", index=index)
    shape = SHAPES[index % len(SHAPES)]
    color = COLOR_NAMES[int(rng.random() * len(COLOR_NAMES))]
    scene = arrange(rng, shapes=[shape], colors=[color])
    picture = scene.to_json()
    return picture, {"shape": shape, "color": color}, stable_hash(picture)


def _digit(split: Any, index: int) -> Drawn:
    """One large digit of any colour; every tenth picture shows the same digit. Pictures of one scan
    are a cluster."""
    from unimm_eval.world import Glyph, Page, rng_for
    from unimm_eval.world.digits import digit_rows
    from unimm_eval.world.scenes import COLOR_NAMES

    rng = rng_for(split=split, purpose="probes:mini/digit", index=index)
    digit = _DIGITS[index % len(_DIGITS)]
    rows = digit_rows(label=int(digit), split=split)
    glyph = Glyph(
        row=rows[int(rng.random() * len(rows))],
        x=15 + int(rng.random() * 3),
        y=15 + int(rng.random() * 3),
        size=_DIGIT_SIZE,
        color=COLOR_NAMES[int(rng.random() * len(COLOR_NAMES))],
    )
    return Page(glyphs=(glyph,)).to_json(), {"digit": digit}, f"scan {glyph.row}"
