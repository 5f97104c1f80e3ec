"""Captioned pictures of a pinned shard, or of what the user brought."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from unimm_eval import data
from unimm_eval.api import UserError
from unimm_eval.data import DataFile
from unimm_eval.tasks.cc12m.folder import CAPTIONS, Captioned, first, scan_folder
from unimm_eval.tasks.cc12m.shards import ShardPicture, read_shards

SHARD = ".tar"

CaptionedPicture: TypeAlias = Captioned | ShardPicture


def read_pictures(
    path: Path | None,
    *,
    setting: str,
    pictures: int,
    files: Sequence[DataFile],
    data_dir: Path,
    task: str,
) -> Sequence[CaptionedPicture]:
    """All captioned pictures of the folder `path`, or the first `pictures` of a shard (.tar), of a
    folder of shards, or without `path` of the pinned `files`.

    Raises UserError, which names the `setting` of the `task`, when none of them can be used.
    """
    if path is None:
        shards = [data.verify(file, data_dir, task=task) for file in files]
        found: Sequence[CaptionedPicture] = read_shards(shards, pictures=pictures)
    else:
        path = path.expanduser()
        shards = sorted(path.glob(f"*{SHARD}")) if path.is_dir() else [path]
        if path.suffix == SHARD or (path.is_dir() and shards):
            found = read_shards(shards, pictures=pictures)
        else:
            found = scan_folder(path, setting=setting)
    faults = [picture.fault for picture in found if picture.fault]
    if len(faults) == len(found):
        where = path or ", ".join(file.name for file in files)
        raise UserError(
            f"the task `{task}` finds no picture that can be used in {where}\n  "
            + "\n  ".join(first(faults)),
            fix=CAPTIONS,
        )
    return found


def inputs_of(picture: CaptionedPicture) -> Mapping[str, Any]:
    """What a sample about the picture depends on."""
    inputs = {"picture": picture.name, "sha256": picture.sha256, "caption": picture.caption}
    return inputs | ({"fault": picture.fault} if picture.fault else {})


def identity_of(pictures: Sequence[CaptionedPicture]) -> list[list[str | None]]:
    """What makes two sets of pictures the same data."""
    return [[row.sha256, row.caption or row.fault] for row in pictures]
