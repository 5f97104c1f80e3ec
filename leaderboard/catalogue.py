"""Everything the site says, gathered from records, reported rows and the cards of the tasks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unimm_eval.api import Card, ReportedRow, stable_hash
from unimm_eval.leaderboard.board import Board, ColumnName, Kind, Number, Row, make_board
from unimm_eval.leaderboard.entries import Entry, ModelEntry, model_entries, safe, slug

AREAS: Mapping[str, str] = {
    "ScoresText": "language",
    "GeneratesText": "understanding",
    "GeneratesImages": "generation",
    "DenoisesImages": "generation",
    "PredictsFrames": "world modelling",
    "ExposesFeatures": "inner workings",
    "ExposesRouting": "inner workings",
}
AREA_ORDER = (
    "language",
    "understanding",
    "generation",
    "world modelling",
    "inner workings",
    "other",
)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that is not on the site, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Boards, the models of their rows, and the words of each reported protocol by its hash."""

    boards: tuple[Board, ...]
    models: tuple[ModelEntry, ...]
    reported: tuple[ReportedRow, ...] = ()
    protocols: Mapping[str, str] = field(default_factory=dict)
    cards: Mapping[str, Card] = field(default_factory=dict)


def make_catalogue(
    entries: Sequence[Entry], reported: Sequence[ReportedRow], *, cards: Mapping[str, Card]
) -> Catalogue:
    """`cards` are those of the installed tasks, which say what a task is about."""
    models = model_entries(entries)
    areas = {name: _area(card) for name, card in cards.items()}
    tasks = {row.task for entry in entries for row in entry.record.results}
    areas |= {
        task: _area_of_unknown(task, areas) for task in tasks | {row.task for row in reported}
    }
    descriptions = {
        (name, metric): safe(spec.description, 200)
        for name, card in cards.items()
        for metric, spec in card.metrics.items()
        if spec.description
    }
    rows: dict[Kind, list[Row]] = {
        "official": [model.row for model in models],
        "mini": [model.row for model in models],
        "reported": list({row.id: row for row in map(_reported_row, reported)}.values()),
    }
    numbers = {
        "official": _measured(models, mini=False),
        "mini": _measured(models, mini=True),
        "reported": _published(reported),
    }
    boards = [
        make_board(
            kind,
            numbers[kind],
            rows[kind],
            order=_ordered(numbers[kind], areas, fullest_first=kind == "reported"),
            areas=areas,
            descriptions=descriptions,
        )
        for kind in rows
    ]
    return Catalogue(
        boards=tuple(board for board in boards if board.rows),
        models=tuple(models),
        reported=tuple(reported),
        protocols={_protocol(row): safe(f"{row.source}: {row.protocol}", 300) for row in reported},
        cards=cards,
    )


def _measured(models: Sequence[ModelEntry], *, mini: bool) -> dict[ColumnName, dict[str, Number]]:
    numbers: dict[ColumnName, dict[str, Number]] = {}
    for model in models:
        for entry in model.entries:
            for result in entry.record.results:
                if result.mini != mini:
                    continue
                name = ColumnName(
                    task=result.task,
                    metric=result.metric,
                    protocol=result.protocol_hash,
                    direction=result.direction,
                    unit=result.unit,
                    range=result.range,
                    headline=result.headline,
                )
                numbers.setdefault(name, {})[model.row.id] = Number(
                    value=result.value,
                    stderr=result.stderr,
                    interval=result.interval,
                    n=result.n,
                    unscored=result.unscored,
                    chance=result.chance,
                    source=entry.name,
                    by_child=bool(result.answered_by),
                )
    return numbers


def _published(reported: Sequence[ReportedRow]) -> dict[ColumnName, dict[str, Number]]:
    """The first metric of a task under a protocol is its headline."""
    numbers: dict[ColumnName, dict[str, Number]] = {}
    first: dict[tuple[str, str], str] = {}
    for row in reported:
        protocol = _protocol(row)
        name = ColumnName(
            task=row.task,
            metric=row.metric,
            protocol=protocol,
            direction=row.direction,
            unit=row.unit,
            range=row.range,
            headline=first.setdefault((row.task, protocol), row.metric) == row.metric,
        )
        source = f"{row.source}, {row.where}" + (f" ({row.note})" if row.note else "")
        numbers.setdefault(name, {})[_reported_row(row).id] = Number(
            value=row.value, source=safe(source, 300)
        )
    return numbers


def _reported_row(reported: ReportedRow) -> Row:
    identity = stable_hash([reported.model, reported.source, reported.parameters], length=8)
    return Row(
        id=slug(f"reported-{reported.model}", identity=identity),
        name=safe(reported.model),
        note=safe(f"{reported.source}, {reported.year}"),
        kind=safe(reported.source),
        tags=() if reported.subject == "model" else (reported.subject,),
        total=reported.parameters,
    )


def _protocol(row: ReportedRow) -> str:
    """Two sources are never taken to have measured alike."""
    return stable_hash([row.source, row.protocol])


def _ordered(
    numbers: Mapping[ColumnName, Mapping[str, Number]],
    areas: Mapping[str, str],
    *,
    fullest_first: bool,
) -> list[ColumnName]:
    """By area, then task; under a task the protocol with most rows first, then as recorded. With
    `fullest_first` areas and tasks with most rows come first, too."""
    filled: Counter[tuple[str, ...]] = Counter()
    for name, cells in numbers.items():
        area = areas.get(name.task, "other")
        for key in ((area,), (area, name.task), (name.task, name.protocol)):
            filled[key] = max(filled[key], len(cells))
    place = {area: index for index, area in enumerate(AREA_ORDER)}

    def weight(*key: str) -> int:
        return -filled[key] if fullest_first else 0

    return sorted(
        numbers,
        key=lambda name: (
            weight(area := areas.get(name.task, "other")),
            place[area],
            weight(area, name.task),
            name.task,
            -filled[name.task, name.protocol],
            name.protocol,
            not name.headline,
        ),
    )


def _area(card: Card) -> str:
    return next((AREAS[need] for need in card.requires if need in AREAS), "other")


def _area_of_unknown(task: str, areas: Mapping[str, str]) -> str:
    """A variant is of its benchmark's area; lm-eval's tasks are text, lmms-eval's are pictures."""
    if task in areas:
        return areas[task]
    head, _, _ = task.partition(":")
    passed_on = {"lm": "language", "lmms": "understanding"}
    return passed_on.get(head) or areas.get(head) or areas.get(f"{head}:mini") or "other"
