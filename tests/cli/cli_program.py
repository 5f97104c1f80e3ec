"""What a program left behind when it ended."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Program = Callable[..., Ended]


def is_one_message(ended: Ended) -> bool:
    """Whether stderr, after what was told of progress, is one message of ours and no traceback."""
    lines = ended.err.splitlines()
    heads = [line for line in lines if line.startswith("unimm-eval: ")]
    return len(heads) == 1 and "Traceback" not in ended.err


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every file below `folder` with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
