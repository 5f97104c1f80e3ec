"""Samples across the site: read from the records' scores, shown on pages of their own, and found
again from the pages of their task and of each model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval import data
from unimm_eval.api import ScoredOutput, Task, UserError, load_scores, stable_hash
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import TaskEntry
from unimm_eval.leaderboard.catalogue import Catalogue, LeftOut
from unimm_eval.leaderboard.entries import slug
from unimm_eval.leaderboard.samples import (
    MAX_MODELS,
    MAX_SAMPLES,
    Pictures,
    SampleView,
    Shot,
    Source,
    sample_views,
)
from unimm_eval.report.plain import one_line

TILE_PROMPT = 160


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The samples of a task under one protocol, and the folder of their pages."""

    task: str
    protocol: str
    folder: str
    views: tuple[SampleView, ...]
    models: int

    def href(self, view: SampleView) -> str:
        return f"{self.folder}/{view.page}"


def read_galleries(
    catalogue: Catalogue, tasks: Mapping[str, TaskEntry], *, pictures: Pictures
) -> tuple[list[Gallery], list[LeftOut]]:
    """A gallery for each task and protocol with published scores, and the files of scores that
    cannot be read."""
    galleries, problems = [], []
    for board in catalogue.boards:
        for group in board.groups():
            name = group[0].name
            loaded: list[tuple[Source, Sequence[ScoredOutput]]] = []
            for source in _sources(catalogue, [row.id for row in board.rows], name):
                if len(loaded) == MAX_MODELS:
                    break
                try:
                    loaded.append((source, load_scores(source.entry.path, name.task)))
                except UserError as error:
                    problems.append(LeftOut(name=source.entry.name, reason=one_line(error.what)))
            if loaded:
                views = sample_views(
                    loaded, task=_task(tasks, name.task, loaded[0][0]), pictures=pictures
                )
                name_hash = stable_hash([name.task, name.protocol], length=8)
                galleries.append(
                    Gallery(
                        task=name.task,
                        protocol=name.protocol,
                        folder=f"samples/{slug(name.task, identity=name_hash)}",
                        views=tuple(views),
                        models=len(loaded),
                    )
                )
    return galleries, problems


def sample_pages(gallery: Gallery) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, contents) of each sample's page; they are linked in a row."""
    pages = [view.page for view in gallery.views]
    for index, view in enumerate(gallery.views):
        yield (
            gallery.href(view),
            {
                "sample": view,
                "task": one_line(gallery.task, limit=60),
                "number": index + 1,
                "total": len(pages),
                "before": pages[index - 1] if index else "",
                "after": pages[index + 1] if index + 1 < len(pages) else "",
            },
        )


def task_gallery(gallery: Gallery) -> dict[str, Any]:
    """The samples of a task, each with how many models are right."""
    return {
        "words": f"{len(gallery.views)} samples, those first on which the models differ most; at "
        f"most {MAX_SAMPLES} of them and {MAX_MODELS} models are shown.",
        "tiles": [
            {
                **_tile(gallery, view),
                "picture": _first_picture([*view.pictures, *view.answers[0].pictures]),
                "share": "{} of {} right".format(*view.right) if view.right[1] else "",
            }
            for view in gallery.views
        ],
    }


def model_gallery(gallery: Gallery, row_id: str) -> dict[str, Any] | None:
    """The same samples as one model answered them."""
    tiles = []
    for view in gallery.views:
        answer = next((answer for answer in view.answers if answer.row == row_id), None)
        if answer is not None:
            tile = _tile(gallery, view)
            tile["href"] += f"#{row_id}"
            tile["picture"] = _first_picture([*answer.pictures, *view.pictures])
            tiles.append({**tile, "verdict": answer.verdict})
    if not tiles:
        return None
    return {
        "task": one_line(gallery.task, limit=60),
        "words": "The samples on which models differ most; each leads to the answers of all.",
        "tiles": tiles,
    }


def _tile(gallery: Gallery, view: SampleView) -> dict[str, Any]:
    return {
        "href": gallery.href(view),
        "prompt": one_line(view.prompt, limit=TILE_PROMPT),
        "group": view.group,
    }


def _first_picture(shots: Sequence[Shot]) -> Shot | None:
    return next((shot for shot in shots if shot.file), None)


def _sources(catalogue: Catalogue, order: Sequence[str], name: Any) -> Iterator[Source]:
    """Records with scores of a task under a protocol, in the order of the board."""
    models = {model.row.id: model for model in catalogue.models}
    for row_id in order:
        model = models.get(row_id)
        for entry in model.entries if model else ():
            record = entry.record
            here = any(
                (row.task, row.protocol_hash) == (name.task, name.protocol)
                for row in record.results
            )
            if model and here and name.task in record.scores:
                yield Source(row=row_id, model=model.row.name, entry=entry)


def _task(tasks: Mapping[str, TaskEntry], name: str, source: Source) -> Task | None:
    """The task as it was set; None where it is not installed or no longer has these settings."""
    if name not in tasks:
        return None
    settings = source.entry.record.run.tasks.get(name, {}).get("set", {})
    try:
        return make_task(tasks[name], settings, data.data_dir(None))
    except UserError:
        return None
