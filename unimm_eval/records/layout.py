"""Where published records stand.

    results/<model>/<run>.json                         the record
    results/<model>/<run>/samples/<task>.parquet       scores of each task
    results/<model>/<run>/media/ab/abcd….png           a choice of pictures, named by content

`bench`, `train` and `reported` in `results/` are other things.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from unimm_eval.api import REPORTED_FOLDER, RunRecord

OTHER_FOLDERS = frozenset({"bench", "train", REPORTED_FOLDER})
MEDIA_FOLDER = "media"

MAX_RECORD_BYTES = 1_000_000
MAX_FILE_BYTES = 10_000_000
MAX_RUN_BYTES = 25_000_000
MAX_NAME = 96


def model_folder(name: str) -> str:
    """A model's name as that of a folder: `org/name` → `org__name`."""
    plain = re.sub(r"[^\w.+-]+", "-", name.replace("/", "__"), flags=re.ASCII).strip("-.")
    return f"model-{plain}" if plain in OTHER_FOLDERS or not plain else plain


def record_path(record: RunRecord) -> Path:
    """Where a record stands, relative to `results/`."""
    folder = model_folder(record.model.name)
    return Path(folder, f"{folder}-{record.run.plan_hash}.json")


def published(results: Path) -> Iterator[Path]:
    """The files of all published records, by name."""
    for folder in model_folders(results):
        yield from sorted(folder.glob("*.json"))


def model_folders(results: Path) -> list[Path]:
    """The folders of models, by name; hidden ones are none."""
    if not results.is_dir():
        return []
    return [
        path
        for path in sorted(results.iterdir())
        if path.is_dir() and path.name not in OTHER_FOLDERS and not path.name.startswith(".")
    ]
