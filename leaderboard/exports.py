"""The boards for other programs: CSV, Markdown, LaTeX and BibTeX."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from unimm_eval.leaderboard.board import CHILD_MARK, Board, Cell, Column, Row, fixed
from unimm_eval.leaderboard.catalogue import Catalogue
from unimm_eval.leaderboard.entries import ModelEntry, compact, safe, slug
from unimm_eval.leaderboard.escape import bibtex, csv_text, markdown, tex

SOURCE_LIMIT = 300
CAPTIONS: Mapping[str, str] = {
    "official": "Measured on official benchmarks. Value ± clustered standard error.",
    "mini": "Measured on the embedded world (mini): not comparable with official numbers. "
    "Value ± clustered standard error.",
    "reported": "Reported by others, not measured here. Every column is one protocol.",
}

Files = dict[str, str]


def export_files(catalogue: Catalogue) -> Files:
    """All exports by file name."""
    files: Files = {"results.csv": long_csv(catalogue)}
    for board in catalogue.boards:
        files[f"{board.kind}.csv"] = wide_csv(board)
        files[f"{board.kind}.md"] = markdown_table(board)
        files[f"{board.kind}.tex"] = latex_table(board)
    files["references.bib"] = bibtex_entries(catalogue)
    return files


def long_csv(catalogue: Catalogue) -> str:
    """One row a number, as recorded."""
    rows: list[Sequence[object]] = [
        (
            *("board", "model", "row", "task", "metric", "value", "stderr", "low", "high", "n"),
            *("unscored", "chance", "direction", "unit", "protocol", "rank_low", "rank_high"),
            *("source", "by_child"),
        )
    ]
    rows += [
        _long_row(board, column, row, column.cells[row.id])
        for board in catalogue.boards
        for column in board.columns
        for row in board.rows
        if row.id in column.cells
    ]
    return _csv(rows)


def wide_csv(board: Board) -> str:
    """One row a model, one column a metric and another for its standard error."""
    names = [
        f"{name.task}/{name.metric} [{name.protocol[:8]}]"
        for name in (column.name for column in board.columns)
    ]
    head = ["model", "row", "active_parameters", "parameters", "training_flops"]
    rows: list[Sequence[object]] = [
        [*head, *(field for name in names for field in (name, f"{name} stderr"))]
    ]
    for row in board.rows:
        cells = [column.cells.get(row.id) for column in board.columns]
        rows.append(
            [
                *(row.name, row.id, row.active, row.total, row.flops),
                *(
                    field
                    for cell in cells
                    for field in (
                        (None, None) if cell is None else (cell.number.value, cell.number.stderr)
                    )
                ),
            ]
        )
    return _csv(rows)


def markdown_table(board: Board) -> str:
    """The headline numbers as a table for a README."""
    columns = board.headlines
    heads = ["model", "active", *(_head(column) for column in columns)]
    lines = [
        markdown(CAPTIONS[board.kind]),
        "",
        f"| {' | '.join(markdown(head) for head in heads)} |",
        f"|{'---|' * 2}{'---:|' * len(columns)}",
    ]
    for row in board.rows:
        values = [_with_error(column, row) or "–" for column in columns]
        lines.append(f"| {' | '.join([markdown(_name(row)), compact(row.active), *values])} |")
    return "\n".join(lines) + "\n"


def latex_table(board: Board) -> str:
    """The headline numbers for a paper; needs the package booktabs. The best of a column is bold,
    and so is what cannot be told from it."""
    columns = board.headlines
    lines = [
        f"% {tex(CAPTIONS[board.kind])}",
        rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["Model", "Active", *(tex(_head(column)) for column in columns)]) + r" \\",
        r"\midrule",
    ]
    for row in board.rows:
        values = []
        for column in columns:
            shown = tex(_with_error(column, row)) or "--"
            cell = column.cells.get(row.id)
            best = cell is not None and (cell.rank[0] if cell.rank else cell.place) == 1
            values.append(rf"\textbf{{{shown}}}" if best else shown)
        lines.append(" & ".join([tex(_name(row)), compact(row.active), *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def bibtex_entries(catalogue: Catalogue) -> str:
    """One entry a model that was measured, and one a source of reported numbers."""
    entries = [citation(model) for model in catalogue.models]
    for row in {row.source: row for row in catalogue.reported}.values():
        fields = {
            "title": row.source,
            "howpublished": row.url,
            "note": f"{row.revision}; reported numbers",
            "year": str(row.year),
        }
        kept = {name: safe(value, SOURCE_LIMIT) for name, value in fields.items()}
        entries.append(_bibtex(slug(row.source, identity=str(row.year)), kept))
    return "\n".join(entries)


def citation(model: ModelEntry) -> str:
    """The measured results of a model as an entry of BibTeX."""
    runs = ", ".join(entry.record.run.name for entry in model.entries)
    record = model.entries[0].record
    note = f"runs {runs}; weights {record.model.fingerprint}; digest {record.digest}"
    title = f"{_name(model.row)}: measured results"
    return _bibtex(model.row.id, {"title": title, "note": safe(note, SOURCE_LIMIT)})


def _bibtex(key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{bibtex(value)}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def _long_row(board: Board, column: Column, row: Row, cell: Cell) -> Sequence[object]:
    name, number = column.name, cell.number
    low, high = number.interval or (None, None)
    rank_low, rank_high = cell.rank or (None, None)
    return (
        *(board.kind, row.name, row.id, name.task, name.metric, number.value, number.stderr),
        *(low, high, number.n, number.unscored, number.chance, name.direction, name.unit),
        *(name.protocol, rank_low, rank_high, number.source, int(number.by_child)),
    )


def _csv(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in rows:
        writer.writerow(
            [
                ""
                if value is None
                else csv_text(safe(value, SOURCE_LIMIT))
                if isinstance(value, str) and value
                else value
                for value in row
            ]
        )
    return buffer.getvalue()


def _head(column: Column) -> str:
    unit = " (%)" if column.name.percent else f" ({column.name.unit})" if column.name.unit else ""
    arrow = "↑" if column.name.direction == "higher" else "↓"
    return safe(f"{column.name.task} {column.name.metric}{unit} {arrow}", 120)


def _name(row: Row) -> str:
    return f"{row.name} ({row.note})" if row.note else row.name


def _with_error(column: Column, row: Row) -> str:
    cell = column.cells.get(row.id)
    if cell is None:
        return ""
    value = fixed(cell.shown, column.decimals)
    mark = f" {CHILD_MARK}" if cell.number.by_child else ""
    error = "" if cell.error is None else f" ± {fixed(cell.error, column.decimals)}"
    return f"{value}{error}{mark}"
