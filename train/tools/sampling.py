"""A uniform sample of the texts of a corpus, in one pass and in bounded memory."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.train.tools.rows import caption_of, captioned_rows
from unimm_eval.train.tools.skipped import Skipped


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Texts of a corpus with their places, the shortest first; `rows` is what it was drawn from."""

    name: str
    places: tuple[str, ...]
    texts: tuple[str, ...]
    rows: int
    skipped: Skipped = field(compare=False)

    @property
    def sha256(self) -> str:
        """Of all texts and how they follow each other."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()


def draw(
    source: Path, *, name: str, samples: int, characters: int, seed: int, max_skipped: float
) -> Sample:
    """At most `samples` texts of `source`, each as likely as any other, cut at `characters`.

    Algorithm R; a corpus with fewer texts is taken whole. Raises UserError when too many rows
    cannot be used, or fewer than two can.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    skipped = Skipped(share=max_skipped)
    kept: list[tuple[str, str]] = []
    usable = 0
    for place, _, text in captioned_rows(source).parsed(caption_of, skipped):
        usable += 1
        if len(kept) < samples:
            kept.append((place, text[:characters]))
        elif (at := int(rng.integers(usable))) < samples:
            kept[at] = (place, text[:characters])
    if usable < 2:
        raise UserError(
            f"{source} holds {usable} texts that can be used; a distance needs two at least.\n"
            f"{skipped.first()}".rstrip()
        )
    skipped.check(rows=usable + len(skipped.reasons))
    kept.sort(key=lambda item: (len(item[1]), item[1], item[0]))
    return Sample(
        name=name,
        places=tuple(place for place, _ in kept),
        texts=tuple(text for _, text in kept),
        rows=usable,
        skipped=skipped,
    )
