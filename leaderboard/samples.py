"""Single outputs on the site: which samples are shown, and what each model made of them.

A run may have tens of thousands of outputs. Of each task under one protocol the site shows the
samples on which the models differ most, every group represented, with the answers of the models
that stand first on the board. What a submitter sent is never trusted: a sample that its task cannot
show is shown as plain text, and a picture is shown only if it is the file that its name says.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api import (
    Exhibit,
    Output,
    Picture,
    PictureError,
    ScoredOutput,
    Task,
    content_hash,
    decode_picture,
    record_folder,
    stable_hash,
)
from unimm_eval.leaderboard.entries import Entry
from unimm_eval.records.layout import MEDIA_FOLDER
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.pictures import encode_small
from unimm_eval.report.plain import one_line, visible

if TYPE_CHECKING:
    import numpy as np

MAX_MODELS = 12
MAX_SAMPLES = 48
POOL = 4 * MAX_SAMPLES
TEXT_LIMIT = 1200
GROUP_LIMIT = 60
MAX_FACTS = 12
_MEDIA_NAME = re.compile(r"[0-9a-f]{64}\.png")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of the site, by the name of its file; `problem` says why there is none."""

    name: str
    file: str = ""
    width: int = 0
    height: int = 0
    crisp: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model made of a sample. Text is safe to look at, not escaped."""

    row: str
    model: str
    verdict: str
    answer: str
    note: str
    pictures: tuple[Shot, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class SampleView:
    """A sample with its answers."""

    id: str
    page: str
    group: str
    prompt: str
    expected: str
    pictures: tuple[Shot, ...]
    answers: tuple[Answer, ...]

    @cached_property
    def right(self) -> tuple[int, int]:
        """How many models are right, of how many that are right or wrong."""
        judged = [answer.verdict for answer in self.answers if answer.verdict in ("right", "wrong")]
        return judged.count("right"), len(judged)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A row of a board and the record that its scores of a task stand beside."""

    row: str
    model: str
    entry: Entry


class Pictures:
    """The site's folder of pictures, by content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, picture: Picture) -> Shot:
        """Write a picture of ours or of a record, small enough for a page."""
        label = one_line(name, limit=GROUP_LIMIT)
        try:
            array = picture.load() if picture.path is None else _published(picture.path)
        except PictureError as error:
            return Shot(name=label, problem=one_line(error.what, limit=200))
        data, kind = encode_small(array)
        file = f"{content_hash(data)[:24]}.{kind}"
        if not (self.folder / file).is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / file).write_bytes(data)
        height, width = array.shape[:2]
        return Shot(
            name=label,
            file=f"{self.folder.name}/{file}",
            width=width,
            height=height,
            crisp=kind == "png",
        )


def sample_views(
    loaded: Sequence[tuple[Source, Sequence[ScoredOutput]]],
    *,
    task: Task | None,
    pictures: Pictures,
) -> list[SampleView]:
    """The samples of a task that the site shows, from the scores of at most `MAX_MODELS` rows of a
    board. `task` is None where it is not installed."""
    outputs: dict[str, list[tuple[Source, ScoredOutput]]] = {}
    for source, rows in loaded[:MAX_MODELS]:
        for row in rows:
            if row.score.repeat == 0:
                outputs.setdefault(row.sample.id, []).append((source, row))
    pool = sorted(
        outputs,
        key=lambda key: (
            -sum(map(_has_pictures, outputs[key])),
            -_spread(outputs[key]),
            stable_hash(key),
        ),
    )[:POOL]
    groups: dict[str, list[str]] = {}
    for key in pool:
        groups.setdefault(_exhibit(task, *outputs[key][0]).group, []).append(key)
    chosen = list(_in_turns(list(groups.values())))[:MAX_SAMPLES]
    return [_view(key, outputs[key], task=task, pictures=pictures) for key in chosen]


def _view(
    key: str,
    rows: Sequence[tuple[Source, ScoredOutput]],
    *,
    task: Task | None,
    pictures: Pictures,
) -> SampleView:
    exhibits = [(source, row, _exhibit(task, source, row)) for source, row in rows]
    _, first, exhibit = exhibits[0]
    return SampleView(
        id=one_line(key, limit=GROUP_LIMIT),
        page=f"{stable_hash(key, length=12)}.html",
        group=one_line(exhibit.group, limit=GROUP_LIMIT),
        prompt=visible(exhibit.prompt, limit=TEXT_LIMIT),
        expected=visible(exhibit.expected, limit=TEXT_LIMIT),
        pictures=tuple(
            pictures.add(name, picture)
            for name, picture in exhibit.shown.items()
            if name not in first.media
        ),
        answers=tuple(_answer(*parts, pictures=pictures) for parts in exhibits),
    )


def _answer(source: Source, row: ScoredOutput, exhibit: Exhibit, *, pictures: Pictures) -> Answer:
    unscored = row.score.unscored
    note = exhibit.note if unscored in (None, exhibit.note) else f"{exhibit.note}\n{unscored}"
    if row.error:
        note = f"{note}\n{row.error}"
    return Answer(
        row=source.row,
        model=source.model,
        verdict=_verdict(exhibit, unscored),
        answer=visible(exhibit.answer, limit=TEXT_LIMIT),
        note=visible(note.strip(), limit=TEXT_LIMIT),
        pictures=tuple(
            pictures.add(name, picture)
            for name, picture in exhibit.shown.items()
            if name in row.media
        ),
        facts=tuple(
            (
                one_line(str(name), limit=GROUP_LIMIT),
                plain_number(value)
                if isinstance(value, float)
                else visible(str(value), limit=TEXT_LIMIT),
            )
            for name, value in list(exhibit.facts.items())[:MAX_FACTS]
        ),
    )


def _verdict(exhibit: Exhibit, unscored: str | None) -> str:
    if unscored is not None:
        return "unscored"
    if exhibit.correct is None:
        return ""
    return "right" if exhibit.correct else "wrong"


def _exhibit(task: Task | None, source: Source, row: ScoredOutput) -> Exhibit:
    """As the task shows it; as plain text where there is no such task, or it cannot. Whatever kind
    of value a record holds, what is shown is text."""
    exhibit = None
    if task is not None:
        media = record_folder(source.entry.path) / MEDIA_FOLDER
        try:
            names = {name: Path(file).name for name, file in row.media.items()}
            output = Output(
                sample_id=row.sample.id,
                repeat=row.score.repeat,
                values=row.answer,
                media={name: Picture(path=media / file[:2] / file) for name, file in names.items()},
                error=row.error,
            )
            exhibit = task.exhibit(row.sample, output, row.score)
        except Exception:  # noqa: BLE001 - a file from outside meets the code of any plug-in
            exhibit = None
    exhibit = exhibit or _plain(row)
    return replace(
        exhibit,
        group=str(exhibit.group),
        prompt=str(exhibit.prompt),
        answer=str(exhibit.answer),
        expected=str(exhibit.expected),
        note=str(exhibit.note),
    )


def _plain(row: ScoredOutput) -> Exhibit:
    prompt = next(
        (
            row.sample.inputs[key]
            for key in ("prompt", "question", "text")
            if key in row.sample.inputs
        ),
        row.sample.inputs,
    )
    return Exhibit(
        group="",
        prompt=_words(prompt),
        answer=_words(row.answer) if row.answer else "",
        facts=dict(row.score.values),
    )


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _has_pictures(shown: tuple[Source, ScoredOutput]) -> bool:
    """Whether all pictures of an output, if it has any, were published."""
    source, row = shown
    folder = record_folder(source.entry.path) / MEDIA_FOLDER
    names = [Path(str(file)).name for file in row.media.values()]
    return all((folder / name[:2] / name).is_file() for name in names)


def _spread(rows: Sequence[tuple[Source, ScoredOutput]]) -> float:
    """How far the models are apart on a sample: the variance of the first value of its scores."""
    first = [next(iter(row.score.values.values()), None) for _, row in rows]
    values = [float(value) for value in first if isinstance(value, int | float)]
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def _in_turns(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    return (key for key in chain.from_iterable(zip_longest(*lists)) if key is not None)


def _published(path: Path) -> "np.ndarray":
    """The picture in a file of a record. Raises PictureError, which names no folder."""
    if not _MEDIA_NAME.fullmatch(path.name):
        raise PictureError("its name is not that of a picture")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError("not published with the record") from error
    if content_hash(data) != path.stem:
        raise PictureError("the file is not the one that the record names")
    return decode_picture(data, name="the picture")
