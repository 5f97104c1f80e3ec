"""The site: every page, picture and export, written into a folder.

It is built beside the folder and put in its place when it is whole, so a failed build leaves the
old site as it was. Equal results give equal files.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.engine.files import explained
from unimm_eval.engine.registry import TaskEntry, task_entries
from unimm_eval.leaderboard.board import Board, Row
from unimm_eval.leaderboard.catalogue import AREA_ORDER, Catalogue, LeftOut, make_catalogue
from unimm_eval.leaderboard.entries import ModelEntry, compact
from unimm_eval.leaderboard.exports import citation, export_files
from unimm_eval.leaderboard.galleries import (
    Gallery,
    model_gallery,
    read_galleries,
    sample_pages,
    task_gallery,
)
from unimm_eval.leaderboard.pages import (
    counted,
    index_contents,
    model_contents,
    task_href,
    task_tables,
)
from unimm_eval.leaderboard.plots import first_plots, model_href, plot_parts, radar_plot
from unimm_eval.leaderboard.reading import read_results
from unimm_eval.leaderboard.render import ASSETS, asset, render
from unimm_eval.leaderboard.samples import Pictures
from unimm_eval.report.plain import one_line, visible

MARK = "made-by-unimm-eval"
"""A file of every site, so that no other folder is ever replaced."""
README_LIMIT = 40_000


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was built: the folder, how much is in it, and what was left out."""

    folder: Path
    models: int
    numbers: int
    pages: int
    left_out: tuple[LeftOut, ...]


def write_site(results: Path, output: Path) -> Built:
    """See `unimm_eval.leaderboard.build_site`."""
    if output.exists() and not _may_replace(output):
        raise UserError(
            f"{output} is there, and is no leaderboard.",
            fix="Choose another folder with --output, or remove this one.",
        )
    found = read_results(results)
    tasks = task_entries()
    catalogue = make_catalogue(
        found.entries,
        found.reported,
        cards={name: entry.card for name, entry in tasks.items()},
    )
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            folder = Path(scratch) / "site"
            galleries, problems = read_galleries(
                catalogue, tasks, pictures=Pictures(folder / "media")
            )
            left_out = (*found.left_out, *problems)
            site = _Site(folder, catalogue, galleries, left_out)
            site.write(tasks)
            if output.exists():
                shutil.rmtree(output)
            folder.rename(output)
    return Built(
        folder=output,
        models=len(catalogue.models),
        numbers=sum(len(column.cells) for board in catalogue.boards for column in board.columns),
        pages=site.pages,
        left_out=left_out,
    )


def _may_replace(output: Path) -> bool:
    return output.is_dir() and ((output / MARK).is_file() or not any(output.iterdir()))


class _Site:
    """One build."""

    def __init__(
        self,
        folder: Path,
        catalogue: Catalogue,
        galleries: Sequence[Gallery],
        left_out: Sequence[LeftOut],
    ) -> None:
        self.folder = folder
        self.catalogue = catalogue
        self.galleries = galleries
        self.left_out = left_out
        self.pages = 0

    def write(self, tasks: Mapping[str, TaskEntry]) -> None:
        self._file(MARK, b"unimm-eval leaderboard build\n")
        for name in ASSETS:
            self._file(f"assets/{name}", asset(name))
        for gallery in self.galleries:
            for path, contents in sample_pages(gallery):
                self._page(path, "sample.html", task_href=task_href(gallery.task), **contents)
        self._write_tasks(tasks)
        self._write_models()
        self._page("plots.html", "plots.html", parts=list(plot_parts(self.catalogue)))
        self._page("about.html", "about.html", left_out=self.left_out)
        self._page(
            "index.html",
            "index.html",
            left_out=self.left_out,
            teasers=first_plots(self.catalogue),
            **index_contents(self.catalogue),
        )
        for name, text in export_files(self.catalogue).items():
            self._file(f"exports/{name}", text.encode("utf-8", "replace"))

    def _write_tasks(self, tasks: Mapping[str, TaskEntry]) -> None:
        tiles: dict[str, list[dict[str, Any]]] = {}
        for name, area in self._task_areas().items():
            entry = tasks.get(name)
            title = (
                one_line(entry.card.title, limit=200) if entry else "a task that is not installed"
            )
            tables = list(task_tables(self.catalogue, name))
            contents = {
                "name": one_line(name, limit=60),
                "title": title,
                "tables": tables,
                "galleries": [task_gallery(g) for g in self.galleries if g.task == name],
                "readme": _readme(entry),
            }
            self._page(task_href(name), "task.html", task=contents)
            rows = sum(len(table["rows"]) for table in tables)
            words = f"{title} · {counted(rows, 'row')}"
            tile = {"href": task_href(name), "name": contents["name"], "words": words}
            tiles.setdefault(area, []).append(tile)
        parts = [{"title": area, "tiles": tiles[area]} for area in AREA_ORDER if area in tiles]
        words = "What is measured, by area; each page has the protocol, all numbers and samples."
        self._page("tasks.html", "list.html", title="Tasks", words=words, parts=parts)

    def _write_models(self) -> None:
        models = {model.row.id: model for model in self.catalogue.models}
        rows = {row.id: row for board in self.catalogue.boards for row in board.rows}
        for row in rows.values():
            self._write_model(row, models.get(row.id))
        parts = [
            {"title": board.title, "tiles": [_model_tile(board, row) for row in board.rows]}
            for board in self.catalogue.boards
        ]
        words = "Every model, by board, in the order of its board."
        self._page("models.html", "list.html", title="Models", words=words, parts=parts)

    def _write_model(self, row: Row, model: ModelEntry | None) -> None:
        """`model` is None for a row of reported numbers."""
        radars = [
            radar_plot(board, [row], title=f"Strengths, {board.title.lower()}")
            for board in self.catalogue.boards
            if board.kind != "reported"
        ]
        galleries = [model_gallery(gallery, row.id) for gallery in self.galleries] if model else []
        self._page(
            model_href(row.id),
            "model.html",
            radars=[radar for radar in radars if radar],
            galleries=[gallery for gallery in galleries if gallery],
            citation=citation(model) if model else "",
            **model_contents(self.catalogue, row, model),
        )

    def _page(self, path: str, template: str, **contents: Any) -> None:
        self._file(path, render(template, path=path, **contents).encode("utf-8", "replace"))
        self.pages += 1

    def _file(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def _task_areas(self) -> dict[str, str]:
        return {
            column.name.task: column.area
            for board in self.catalogue.boards
            for column in board.columns
        }


def _model_tile(board: Board, row: Row) -> dict[str, str]:
    covered = sum(row.id in column.cells for column in board.headlines)
    words = (row.note, compact(row.active or row.total), row.kind, counted(covered, "task"))
    return {
        "href": model_href(row.id),
        "name": row.name,
        "words": " · ".join(filter(None, words)),
    }


def _readme(entry: TaskEntry | None) -> str:
    if entry is None:
        return ""
    try:
        text = (entry.folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return visible(text, limit=README_LIMIT)
