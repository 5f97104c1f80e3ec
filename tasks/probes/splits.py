"""Which pictures are learned from, chosen by and reported, and what is refused.

A split that the source has stands. Otherwise a tenth of each class's pictures is taken to report
and a tenth to choose by, at least one each. Which ones is told by their content, so that it is the
same on every machine, and equal pictures of a class are always on one side.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from unimm_eval.api import UserError
from unimm_eval.tasks.cc12m.folder import first
from unimm_eval.tasks.probes.sources import LAYOUT, Labelled, Source

_SHARE = 0.1


def split_pictures(source: Source) -> list[tuple[Labelled, str]]:
    """Each picture with "train", "val" or "test", in the order of contents.

    A source of `train` and one other split has the other reported, as ImageNet's validation set is.
    Raises UserError naming classes that have too few pictures, or that no probe could learn.
    """
    by_split: dict[str, list[Labelled]] = defaultdict(list)
    for picture in source.pictures:
        by_split[picture.split].append(picture)
    train, val, test = (by_split.get(split, []) for split in ("train", "val", "test"))
    if not train and (val or test):
        raise UserError(
            f"{source.pictures[0].where} and others: there is no training split.", fix=LAYOUT
        )
    if not (val or test):
        found = _parted(by_split[""] or train, ("test", "val"))
    elif not (val and test):
        found = [*_parted(train, ("val",)), *((picture, "test") for picture in val or test)]
    else:
        named = (("train", train), ("val", val), ("test", test))
        found = [(picture, split) for split, pictures in named for picture in pictures]
    _check(found)
    return sorted(found, key=lambda pair: (pair[0].sha256, pair[0].name))


def _parted(pictures: Sequence[Labelled], taken: Sequence[str]) -> list[tuple[Labelled, str]]:
    """A tenth of each class for each split of `taken`, the rest to learn from."""
    found: list[tuple[Labelled, str]] = []
    few: list[str] = []
    for folder, contents in _contents(pictures).items():
        hashes = sorted(contents)
        if len(hashes) <= len(taken):
            count = "one picture" if len(hashes) == 1 else f"{len(hashes)} pictures"
            few.append(f"{folder} has {count}")
            continue
        share = max(1, round(_SHARE * len(hashes)))
        share = min(share, (len(hashes) - 1) // len(taken))
        split_of = [split for split in taken for _ in range(share)]
        split_of += ["train"] * (len(hashes) - len(split_of))
        for digest, split in zip(hashes, split_of, strict=True):
            found += [(picture, split) for picture in contents[digest]]
    if few:
        purposes = "to learn from, to choose by and to report"
        raise UserError(
            "Classes have too few different pictures:\n  " + "\n  ".join(first(few)),
            fix=f"A class needs {len(taken) + 1}: "
            + (purposes if len(taken) > 1 else "to learn from and to choose by")
            + ". Add some, or take the class out.",
        )
    return found


def _contents(pictures: Sequence[Labelled]) -> Mapping[str, Mapping[str, list[Labelled]]]:
    """Pictures by class and content."""
    found: dict[str, dict[str, list[Labelled]]] = defaultdict(lambda: defaultdict(list))
    for picture in pictures:
        found[picture.where][picture.sha256].append(picture)
    return found


def _check(found: Sequence[tuple[Labelled, str]]) -> None:
    where: dict[str, dict[str, str]] = defaultdict(dict)
    for picture, split in found:
        where[split].setdefault(picture.label, picture.where)
    if len(where["train"]) < 2:
        (place,) = where["train"].values()
        raise UserError(
            f"{place} is the only class; a probe tells two or more apart.",
            fix=LAYOUT,
        )
    unknown = [
        place
        for split in ("val", "test")
        for label, place in where[split].items()
        if label not in where["train"]
    ]
    if unknown:
        raise UserError(
            "Classes that no training picture shows cannot be learned:\n  "
            + "\n  ".join(first(unknown)),
            fix="Take them out, or name the classes of all splits alike.",
        )
