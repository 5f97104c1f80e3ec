"""`unimm-train encode`: the latents of all pictures of a recipe's sources, made once.

Work is done a shard at a time, so what is killed goes on behind the last whole one, and `part` of
`parts` can be made by each of many processes or machines.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimm_eval.api import SampleError, UserError
from unimm_eval.model.encoders import Encoder
from unimm_eval.train.data.bad import BadRecord, Skip, SkippedRecords, check_share
from unimm_eval.train.data.latents import Place
from unimm_eval.train.data.records import Records
from unimm_eval.train.data.schema import TextSource
from unimm_eval.train.data.sources import open_records, source_fingerprint, used_sources
from unimm_eval.train.data.store import kept
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.tools.folder import explained

_BATCH = 64
_SPARE = 1 << 26  # bytes that the lists beside the latents may take


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What is to be made: `part` (from 0) of `parts`, with the encoder on `device`."""

    recipe: Recipe
    output: Path
    device: torch.device
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, kw_only=True)
class _Job:
    name: str
    place: Place
    records: Records
    todo: list[tuple[int, int, int]]


def encode_sources(job: Encoding, *, watch: Callable[[str], None] = lambda said: None) -> int:
    """Write what is missing; returns how many pictures were encoded.

    `watch` is told what is done. Raises UserError before work begins when the disk is too small or
    a source cannot be used, and IncompleteError when the disk is full all the same.
    """
    if not 0 <= job.part < job.parts:
        raise UserError(f"part {job.part} of {job.parts}: parts are counted from 0")
    recipe = job.recipe
    encoder = recipe.load_encoder(device=job.device)
    names = [
        name for name in used_sources(recipe) if not isinstance(recipe.sources[name], TextSource)
    ]
    if not names:
        raise UserError(
            "this recipe draws no pictures from declared sources: there is nothing to encode"
        )
    jobs = [_opened(job, name, encoder) for name in names]
    _check_disk(job.output, jobs)
    skipped = SkippedRecords(job.output, share=recipe.max_bad_records, sizes={})
    count = 0
    for one in jobs:
        skips: list[Skip] = []
        for shard, begin, end in one.todo:
            with explained(one.place.folder):
                bad = _encode_shard(one, shard, begin, end)
            skips += bad
            skipped.add(bad)
            count += end - begin
            watch(f"{one.name}: {end:,} of {int(one.place.first[-1]):,} pictures")
        pictures = sum(end - begin for _, begin, end in one.todo)
        if pictures:
            check_share(one.name, skips, of=pictures, share=recipe.max_bad_records)
    return count


def _opened(job: Encoding, name: str, encoder: Encoder) -> _Job:
    spec = job.recipe.sources[name]
    cache = job.output / "index"
    records = open_records(spec, name, cache)
    known = source_fingerprint(spec, name)
    place = Place(job.output, name, spec, fingerprint=known, encoder=encoder)

    def count(folder: Path) -> None:
        np.save(folder / "first.npy", _first_pictures(records))

    counted = kept(cache, "pictures", [spec.kind, known, spec.settings()], count)
    with explained(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
        own = place.folder / f"first-{job.part}.partial"  # parts may begin at the same time
        shutil.copyfile(counted / "first.npy", own)
        os.replace(own, place.folder / "first.npy")
    todo = [one for one in place.shards() if one[0] % job.parts == job.part]
    return _Job(
        name=name,
        place=place,
        records=records,
        todo=[one for one in todo if not place.done(one[0])],
    )


def _first_pictures(records: Records) -> np.ndarray:
    """[records + 1]; a bad record has none."""
    counts = np.zeros(len(records) + 1, dtype=np.int64)
    for number in range(len(records)):
        try:
            record = records.read(number)
        except BadRecord:
            continue
        counts[number + 1] = 0 if record is None else record.pictures
    return np.cumsum(counts)


def _check_disk(folder: Path, jobs: Sequence[_Job]) -> None:
    needed = sum(job.place.bytes_a_picture * (b - a) for job in jobs for _, a, b in job.todo)
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise UserError(
            f"{folder}: the latents take {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free",
            fix="Name a larger disk with --output, or split the work with --part.",
        )


def _encode_shard(job: _Job, shard: int, begin: int, end: int) -> list[Skip]:
    """Write a shard; returns the records of which a picture could not be read."""
    place = job.place
    bad: dict[int, str] = {}
    arrays = {
        kind: np.zeros((end - begin, encoder.tokens, encoder.channels), dtype=np.float32)
        for kind, encoder in place.kinds.items()
    }
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for at in range(begin, end, _BATCH):
            wanted = range(at, min(at + _BATCH, end))
            parts = threads.map(lambda part: _read(job.records, *part), _parts(place.first, wanted))
            read = dict(zip(wanted, (one for part in parts for one in part), strict=True))
            bad.update({n: found for n, found in read.items() if isinstance(found, str)})
            pixels = {n: found for n, found in read.items() if not isinstance(found, str)}
            if not pixels:
                continue
            rows = [number - begin for number in pixels]
            for kind, encoder in place.kinds.items():
                fitted = [encoder.fit(torch.from_numpy(one)) for one in pixels.values()]
                arrays[kind][rows] = encoder.encode(torch.stack(fitted)).cpu().numpy()
    for kind, array in arrays.items():
        with open(_partial(place.file(kind, shard)), "wb") as file:
            np.save(file, array)
        os.replace(_partial(place.file(kind, shard)), place.file(kind, shard))
    _partial(place.file("bad", shard)).write_text(json.dumps(bad), encoding="utf-8")
    os.replace(_partial(place.file("bad", shard)), place.file("bad", shard))
    records = np.searchsorted(place.first, list(bad), side="right") - 1
    return [
        Skip(source=job.name, place=job.records.place(int(record)), reason=reason)
        for record, reason in zip(records, bad.values(), strict=True)
    ]


def _parts(first: np.ndarray, wanted: range) -> Iterator[tuple[int, int, int]]:
    """A record and which of its pictures, for all of the pictures wanted."""
    at = wanted.start
    while at < wanted.stop:
        record = int(np.searchsorted(first, at, side="right")) - 1
        begin, stop = int(first[record]), min(int(first[record + 1]), wanted.stop)
        yield record, at - begin, stop - begin
        at = stop


def _read(records: Records, number: int, begin: int, end: int) -> list[np.ndarray | str]:
    """Pixels of pictures of a record, or why they cannot be read: each for itself, should reading
    them together fail."""
    try:
        record = records.read(number)
        assert record is not None  # nothing else has pictures
        return list(record.load(begin, end))
    except (BadRecord, SampleError) as error:
        if end - begin == 1:
            return [str(error)]
    return [one for at in range(begin, end) for one in _read(records, number, at, at + 1)]


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")
