"""`unimm-eval scaling FILE`: scaling laws of runs at fixed compute."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unimm_eval.cli.tables import console_for_tables
from unimm_eval.report.plain import one_line
from unimm_eval.scaling import Study, read_points, study
from unimm_eval.scaling.plots import check_format, write_figure
from unimm_eval.scaling.study import BASE_SIZE, Asymmetry, Quantity

if TYPE_CHECKING:
    from rich.table import Table

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def scaling_command(file: Path, *, as_json: bool, output: Path | None) -> None:
    """Print the laws, as tables or JSON, and write the figure. Raises UserError."""
    if output is not None:
        check_format(output)
    found = study(read_points(file))
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        _show(found)
    if output is not None:
        write_figure(output, found, title=f"{file.name}: {found.resamples:,} resamples")
        typer.echo(f"figure  {output}", err=as_json)


def _show(found: Study) -> None:
    console = console_for_tables()
    if found.unused:
        console.print(f"Not used: {', '.join(map(one_line, found.unused))}.")
    console.print(_laws(found))
    console.print(_budgets(found))
    for entry in found.asymmetries:
        console.print(_said(entry))


def _laws(found: Study) -> "Table":
    """A column a law."""
    laws = [law.to_json() for law in found.laws]
    table = _table("", *(f"{one_line(law['modality'])}, {one_line(law['arch'])}" for law in laws))
    for key, name in (
        ("a", "a of N_opt ∝ C^a"),
        ("b", "b of D_opt ∝ C^b"),
        ("alpha", "α of A·C^−α + E"),
        ("A", "A"),
        ("E", "E"),
    ):
        table.add_row(name, *(_quantity(Quantity(**law[key])) for law in laws))
    return table


def _budgets(found: Study) -> "Table":
    table = _table("Budget", "FLOPs", "runs", "in valley", "N_opt", "D_opt", "least loss")
    for law in found.laws:
        name = f"{one_line(law.modality)}, {one_line(law.arch)}"
        for row in law.to_json()["budgets"]:
            table.add_row(
                name,
                f"{row['flops']:.3g}",
                str(row["runs"]),
                str(row["runs_in_valley"]),
                *(_large(Quantity(**row[key])) for key in ("n_opt", "d_opt")),
                _quantity(Quantity(**row["loss"])),
            )
            name = ""
        table.add_section()
    return table


def _said(entry: Asymmetry) -> str:
    grown = "; ".join(
        f"×{_quantity(growth)} at {size:.0e}" for size, growth in entry.growth.items()
    )
    return (
        f"{one_line(entry.arch)}: a of language is {_quantity(entry.gap)} above that of vision. "
        f"The ratio of vision to language data grows as N^{_quantity(entry.ratio_exponent)}: "
        f"against {BASE_SIZE:.0e} active parameters {grown}."
    )


def _quantity(quantity: Quantity) -> str:
    low, high = quantity.interval
    return f"{quantity.value:.3g} [{low:.3g}, {high:.3g}]"


def _large(quantity: Quantity) -> str:
    """In thousands, millions, … of the value."""
    unit, letter = next((one for one in _UNITS if quantity.value >= one[0]), (1.0, ""))
    low, high = (end / unit for end in quantity.interval)
    return f"{quantity.value / unit:.3g} [{low:.3g}, {high:.3g}] {letter}".rstrip()


def _table(*titles: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left", no_wrap=bool(index))
    return table
