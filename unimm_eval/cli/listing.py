"""`unimm-eval tasks` and `unimm-eval models`: what there is, read without importing it."""

import json
from pathlib import Path

from unimm_eval.api import CAPABILITIES, READS_PICTURES, Adapter, Card, Group, Task
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.data import files_of
from unimm_eval.engine.registry import (
    GROUPS,
    find_tasks,
    group_entries,
    judge_kinds,
    model_adapters,
    task_entries,
)
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.plain import one_line, visible


def list_tasks() -> None:
    """All tasks with their titles and what they need of a model."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    entries = task_entries()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Task", no_wrap=True)
    table.add_column("Measures")
    table.add_column("Needs")
    for name, entry in entries.items():
        table.add_row(
            Text(one_line(name), style="bold cyan" if entry.card.mini else "bold"),
            Text(one_line(entry.card.title)),
            Text(", ".join(entry.card.requires), style="dim"),
        )
    console = console_for_tables()
    console.print(table)
    for group, meaning in GROUPS.items():
        console.print(Text.assemble((group, "bold"), f"  {meaning}"))
    for name, card in group_entries().items():
        console.print(Text.assemble((one_line(name), "bold"), f"  {one_line(card.title)}"))
    console.print(Text("unimm-eval tasks NAME prints the card and the protocol of one.", "dim"))


def show_task(name: str) -> None:
    """The card of the group of that name, that of each matching task, then the READMEs of their
    folders."""
    from rich.markdown import Markdown
    from rich.table import Table
    from rich.text import Text

    console = console_for_tables()
    if group := group_entries().get(name):
        title = (one_line(group.name), "bold cyan"), f"  {one_line(group.title)}"
        console.print(Text.assemble(*title))
        grid = Table.grid(padding=(0, 1))
        for key, value in _group_facts(group):
            grid.add_row(Text(f"  {key}", style="dim"), Text(visible(value)))
        console.print(grid)
        console.print()
    readmes: dict[Path, None] = {}
    entries = task_entries()
    for entry in [entries[name]] if name in entries else find_tasks([name], entries):
        title = (one_line(entry.card.name), "bold cyan"), f"  {one_line(entry.card.title)}"
        console.print(Text.assemble(*title))
        grid = Table.grid(padding=(0, 1))
        for key, value in [*_facts(entry.card), *_settings(entry.load())]:
            grid.add_row(Text(f"  {key}", style="dim"), Text(visible(value)))
        console.print(grid)
        console.print()
        readmes[entry.folder / "README.md"] = None
    for path in readmes:
        if path.is_file():
            text = visible(path.read_text(encoding="utf-8"))
            console.print(Markdown(text, hyperlinks=False))


def list_models() -> None:
    """All kinds of models: what they are, what they may be able to do and how they are given."""
    from rich.text import Text

    console = console_for_tables()
    for kind, adapter in model_adapters().items():
        console.print(Text.assemble((one_line(kind), "bold"), f"  {one_line(adapter.summary)}"))
        console.print(Text(f"    {one_line(', '.join(_in_order(adapter)))}", style="dim"))
        for example in adapter.examples:
            console.print(Text(f"    --model {one_line(example)}", style="cyan"))
    console.print(Text("Tasks that a model judges take any of these that writes text, and:", "dim"))
    for kind, judge in judge_kinds().items():
        console.print(Text.assemble((one_line(kind), "bold"), f"  {one_line(judge.summary)}"))
        for example in judge.examples:
            console.print(Text(f"    --set TASK.judge={one_line(example)}", style="cyan"))


def models_as_json() -> str:
    """`list_models` for programs: models and judges by kind."""
    models = {
        kind: {
            "summary": adapter.summary,
            "capabilities": _in_order(adapter),
            "examples": list(adapter.examples),
        }
        for kind, adapter in model_adapters().items()
    }
    judges = {
        kind: {"summary": judge.summary, "examples": list(judge.examples)}
        for kind, judge in judge_kinds().items()
    }
    return json.dumps({"models": models, "judges": judges}, indent=2)


def _in_order(adapter: type[Adapter]) -> list[str]:
    """What models of a kind may be able to do, in the order of the contracts."""
    known = [*CAPABILITIES]
    known.insert(known.index("GeneratesText") + 1, READS_PICTURES)
    theirs = sorted(adapter.capabilities - {*known})
    return [name for name in [*known, *theirs] if name in adapter.capabilities]


def _facts(card: Card) -> list[tuple[str, str]]:
    facts = [
        ("protocol", f"{card.protocol}, version {card.version}"),
        ("hash", card.protocol_hash({})),
        ("kind", _kind(card)),
        ("needs", ", ".join(card.requires)),
    ]
    for title, table in (("data", card.data), ("settings", card.settings), ("budget", card.budget)):
        facts += [
            (title, f"{key} = {_plain(value)}") for key, value in table.items() if key != "files"
        ]
    facts += [("file", f"{file.name}  {file.url}  {file.pin}") for file in files_of(card)]
    for name, spec in card.metrics.items():
        better = f"{spec.direction} is better"
        unit = f", {spec.unit}" if spec.unit else ""
        facts.append(("metric", f"{name} ({better}{unit}) {spec.description}".rstrip()))
    facts += [
        ("published", f"{row.model}: {row.metric} {plain_number(row.value)} ({row.source})")
        for row in card.references
    ]
    return facts


def _group_facts(group: Group) -> list[tuple[str, str]]:
    facts = [("protocol", f"{group.protocol}, version {group.version}")]
    for name, member in group.members.items():
        times = "" if member.scale == 1 else f" × {plain_number(member.scale)}"
        facts.append(("member", f"{name}: {member.metric}{times}"))
    for name, metric in group.metrics.items():
        of = f"mean of {', '.join(group.members_of(name))}"
        facts.append(("metric", f"{name} ({of}) {metric.description}".rstrip()))
    return facts + [
        ("published", f"{row.model}: {row.metric} {plain_number(row.value)} ({row.source})")
        for row in group.references
    ]


def _kind(card: Card) -> str:
    if card.mini:
        return "mini: on the embedded world, not official"
    return "official: on pinned data" if card.data else "on files of yours"


def _settings(task: type[Task]) -> list[tuple[str, str]]:
    return [
        ("--set", f"{name}={_plain(field.get_default())}  {field.description or ''}".rstrip())
        for name, field in task.Config.model_fields.items()
    ]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
