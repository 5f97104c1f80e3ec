"""The page of the model names files and functions that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "model" / "README.md").read_text(encoding="utf-8")


def source(name: str) -> str:
    path = ROOT / "model" / name
    return (path if path.is_file() else ROOT / name).read_text(encoding="utf-8")


def test_every_file_is_there() -> None:
    files = re.findall(r"^\| `([\w/]+\.py|[\w]+/)` \|", PAGE, re.MULTILINE)
    assert len(files) > 10
    assert [name for name in files if not (ROOT / "model" / name).exists()] == []


def test_every_room_of_the_model_is_on_its_page() -> None:
    rooms = {path.name for path in (ROOT / "model").glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in rooms if f"`{name}`" not in PAGE) == ["allocator.py"]


def test_every_equation_lives_where_the_page_says() -> None:
    table = PAGE.split("## Where each equation lives")[1].split("\n\n")[1]
    pointers = re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", table)
    assert len(pointers) > 15
    lost = [
        f"{file}: {name}"
        for file, names in pointers
        for name in re.findall(r"`([\w.]+)`", names)
        for part in name.split(".")
        if not re.search(rf"^\s*(?:def |class )?{part}\b", source(file), re.MULTILINE)
    ]
    assert lost == []


def test_the_figure_is_there() -> None:
    (figure,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    path = (ROOT / "model" / figure).resolve()
    assert path.is_file()
    assert path.stat().st_size < 150_000
