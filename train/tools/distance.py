"""How far corpora are apart: the cosine distance of their centroids (paper, appendix G.4)."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.train.tools.asking import Watch, silent
from unimm_eval.train.tools.embedding import Embedder
from unimm_eval.train.tools.folder import append, explained, opened, write_lines
from unimm_eval.train.tools.sampling import Sample, draw
from unimm_eval.train.tools.skipped import Skipped

RESULT = "distance.json"
RESAMPLES = 1000
_AT_ONCE = 50  # resamples whose counts are held at once
_BOOTSTRAP_SEED = 20_260_101
_DIGITS = 6  # what sums of float32 in another order leave as they are


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far each of `corpora` is from `reference`; both are files or folders, by name."""

    reference: tuple[str, Path]
    corpora: Mapping[str, Path]
    output: Path
    samples: int = 100_000
    characters: int = 2_000
    seed: int = 0
    batch_size: int = 64
    max_skipped: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Distance:
    """1 − cos of the angle between the centroids of a corpus and of the reference, with a 95%
    interval; `n` and `reference_n` are the texts that they are of."""

    corpus: str
    reference: str
    distance: float
    interval: tuple[float, float]
    n: int
    reference_n: int
    skipped: int


def distances(job: Distances, embedder: Embedder, *, watch: Watch = silent) -> list[Distance]:
    """Embed what is not embedded yet, then measure; written to `distance.json`, too.

    Raises UserError, or IncompleteError when the server was down.
    """
    check(job)
    sources = dict([job.reference, *job.corpora.items()])
    drawn = [
        draw(
            path,
            name=name,
            samples=job.samples,
            characters=job.characters,
            seed=job.seed,
            max_skipped=job.max_skipped,
        )
        for name, path in sources.items()
    ]
    setup = {
        "tool": "caption-distance",
        "version": 1,
        "embedder": embedder.identity,
        "dimensions": embedder.dimensions,
        "samples": job.samples,
        "characters": job.characters,
        "seed": job.seed,
        "batch_size": job.batch_size,
        "reference": job.reference[0],
        "corpora": {sample.name: sample.sha256 for sample in drawn},
    }
    with opened(job.output, setup):
        vectors = {}
        for number, sample in enumerate(drawn):
            file = job.output / f"embeddings-{number}.f32"
            _embed(sample, embedder, file, batch_size=job.batch_size, watch=watch)
            vectors[sample.name] = _usable(sample, file, embedder.dimensions, job.max_skipped)
        skipped = {sample.name: len(sample.skipped.reasons) for sample in drawn}
        found = _measure(job, vectors, skipped)
        document = setup | {
            "resamples": RESAMPLES,
            "distances": [asdict(distance) for distance in found],
            "rows": {sample.name: sample.rows for sample in drawn},
            "skipped": {sample.name: dict(sample.skipped.reasons) for sample in drawn},
        }
        write_lines(job.output / RESULT, [json.dumps(document, indent=2)])
    return found


def cosine_distance(a_RD: np.ndarray, b_RD: np.ndarray) -> np.ndarray:
    """1 − cos between rows, in float64."""
    a_RD, b_RD = a_RD.astype(np.float64), b_RD.astype(np.float64)
    lengths_R = np.linalg.norm(a_RD, axis=1) * np.linalg.norm(b_RD, axis=1)
    return np.asarray(1.0 - (a_RD * b_RD).sum(1) / np.maximum(lengths_R, 1e-30))


def interval(
    distance: float, a_RD: np.ndarray, b_RD: np.ndarray, *, confidence: float = 0.95
) -> tuple[float, float]:
    """The basic bootstrap interval of a distance, from the centroids of resamples.

    The noise of a centroid makes a distance too large, and that of a resampled one again by as
    much, so it is mirrored at the estimate: 2d − q. Percentiles of the resamples would lie above
    the truth, all of them for small samples.
    """
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(cosine_distance(a_RD, b_RD), [tail, 1.0 - tail])
    ends = np.clip([2.0 * distance - high, 2.0 * distance - low], 0.0, 2.0)
    return float(ends[0]), float(ends[1])


def resampled_centroids(vectors_ND: np.ndarray, *, seed: Sequence[int]) -> np.ndarray:
    """[RESAMPLES, dimensions]: means of as many rows as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    size = len(vectors_ND)
    parts = []
    for begin in range(0, RESAMPLES, _AT_ONCE):
        rows = min(_AT_ONCE, RESAMPLES - begin)
        drawn_RN = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        counts_RN = np.bincount(drawn_RN.ravel(), minlength=rows * size).reshape(rows, size)
        parts.append(counts_RN.astype(np.float32) @ vectors_ND / size)
    return np.concatenate(parts)


def _measure(
    job: Distances, vectors: Mapping[str, np.ndarray], skipped: Mapping[str, int]
) -> list[Distance]:
    centroids = {name: rows.mean(0, dtype=np.float64)[None] for name, rows in vectors.items()}
    resampled = {
        name: resampled_centroids(rows, seed=[_BOOTSTRAP_SEED, number])
        for number, (name, rows) in enumerate(vectors.items())
    }
    reference = job.reference[0]
    found = []
    for name in job.corpora:
        distance = float(cosine_distance(centroids[name], centroids[reference])[0])
        low, high = interval(distance, resampled[name], resampled[reference])
        found.append(
            Distance(
                corpus=name,
                reference=reference,
                distance=round(distance, _DIGITS),
                interval=(round(low, _DIGITS), round(high, _DIGITS)),
                n=len(vectors[name]),
                reference_n=len(vectors[reference]),
                skipped=skipped[name],
            )
        )
    return found


def _embed(
    sample: Sample, embedder: Embedder, file: Path, *, batch_size: int, watch: Watch
) -> None:
    """Add the vectors that `file` lacks, whole batches at a time, so that a sample that was
    embedded in several goes has the vectors of one that was not."""
    row_bytes = 4 * embedder.dimensions
    total = len(sample.texts)
    with explained(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        done = min(os.fstat(descriptor).st_size // row_bytes, total)
        if done < total:
            done -= done % batch_size
        with explained(file):
            os.ftruncate(descriptor, done * row_bytes)
        batches: Iterator[tuple[str, ...]] = (
            sample.texts[at : at + batch_size] for at in range(done, total, batch_size)
        )
        for rows in embedder.embed(batches) if done < total else ():
            data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
            append(descriptor, data, at=done * row_bytes, path=file)
            done += len(rows)
            watch(sample.name, done, total, len(sample.skipped.reasons))
    finally:
        os.close(descriptor)


def _usable(sample: Sample, file: Path, dimensions: int, max_skipped: float) -> np.ndarray:
    """The vectors of a sample without those that a text could not get. Raises UserError."""
    rows = np.fromfile(file, dtype="<f4").reshape(-1, dimensions)
    good = np.isfinite(rows).all(1)
    refused = Skipped(share=max_skipped)
    for at in np.flatnonzero(~good):
        refused.add(sample.places[at], "the embedder refused it")
        sample.skipped.add(sample.places[at], "the embedder refused it")
    refused.check(rows=len(rows))
    if good.sum() < 2:
        raise UserError(f"{sample.name} has {good.sum()} texts with an embedding; it takes two.")
    return np.asarray(rows[good])


def check(job: Distances) -> None:
    """Raises UserError for a job that cannot be done, before anything is read."""
    for name, least in (("samples", 2), ("characters", 1), ("batch_size", 1), ("seed", 0)):
        if getattr(job, name) < least:
            raise UserError(f"{name} is {getattr(job, name)}; it is {least} or more.")
    if not job.corpora:
        raise UserError("There is no corpus to compare with the reference.")
    if job.reference[0] in job.corpora:
        raise UserError(
            f"Two corpora are called {job.reference[0]!r}.", fix="Name them: NAME=PATH."
        )
