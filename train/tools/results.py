"""What a tool leaves: its files, whole and in the order of the rows, and what was left out."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.train.tools.folder import write_lines
from unimm_eval.train.tools.skipped import Skipped

SKIPPED = "skipped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Done:
    """Files that were written, by name with their number of lines, and the rows left out."""

    files: Mapping[str, int]
    skipped: Skipped


def write_results(
    folder: Path, files: Mapping[str, Iterable[Mapping[str, Any]]], skipped: Skipped
) -> Done:
    """Write each file, and the rows left out by place. Raises UserError or IncompleteError."""
    written = {
        name: write_lines(folder / name, (json.dumps(row) for row in rows))
        for name, rows in files.items()
    }
    left_out = sorted(skipped.reasons.items())
    rows = (json.dumps({"row": place, "reason": reason}) for place, reason in left_out)
    write_lines(folder / SKIPPED, rows)
    return Done(files=written, skipped=skipped)
