"""`experts` and `experts:text`: on documents of DCLM and pictures of CC12M, or on yours."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from unimm_eval import data
from unimm_eval.api import Picture, Sample, TaskConfig, UserError, make_samples, stable_hash
from unimm_eval.data import DataFile
from unimm_eval.tasks.cc12m.folder import first
from unimm_eval.tasks.cc12m.pictures import (
    CaptionedPicture,
    identity_of,
    inputs_of,
    read_pictures,
)
from unimm_eval.tasks.dclm.shard import read_shard
from unimm_eval.tasks.experts.task import ExpertsConfig, ExpertsTask
from unimm_eval.tasks.text.corpus import read_corpus
from unimm_eval.tasks.text.documents import Document

PASSAGE_BYTES = 16384

T = TypeVar("T")


class ExpertsTextConfig(ExpertsConfig):
    text_path: Path | None = Field(
        None, description="a text or JSONL file, or a folder of them; else dclm's shard"
    )


class ExpertsOfficialConfig(ExpertsTextConfig):
    pictures_path: Path | None = Field(
        None, description="a shard (.tar), or a folder of captioned pictures; else cc12m's shard"
    )
    pictures: int = Field(256, ge=1, description="pictures from the beginning")


class ExpertsText(ExpertsTask):
    """Choices of the routers on documents: what a mixture without pictures can be asked."""

    Config: ClassVar[type[TaskConfig]] = ExpertsTextConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "text_path"})
    config: ExpertsTextConfig

    def check(self) -> None:
        """Read everything once. Raises UserError naming what cannot be used."""
        _ = self._documents

    def data_identity(self) -> str:
        return stable_hash([document.digest for document in self._documents])

    def samples(self) -> Iterator[Sample]:
        return make_samples(self._document_rows())

    def text_of(self, sample: Sample) -> str:
        return self._by_key[sample.cluster].text()

    def picture_of(self, sample: Sample) -> Picture:
        raise AssertionError("there are no pictures here")

    def _document_rows(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        return ((document.inputs, document.key) for document in self._documents)

    @cached_property
    def _documents(self) -> Sequence[Document]:
        path = self.config.text_path
        if path is None:
            file = _file(self.card.name, data.files_of(self.card), "dclm")
            path = data.verify(file, self.data_dir, task=self.card.name)
            found: Sequence[Document] = read_shard(path, documents=self.config.documents)
        else:
            passages = read_corpus(
                path.expanduser(),
                passage_bytes=PASSAGE_BYTES,
                setting=f"{self.card.name}.text_path",
            )
            found = passages[: self.config.documents]
        faults = [document.fault for document in found if document.fault]
        if len(faults) == len(found):
            raise UserError(
                f"the task `{self.card.name}` finds no text in {path}\n  "
                + "\n  ".join(first(faults)),
                fix='a text is UTF-8; a line of JSONL is an object with a string "text"',
            )
        return found

    @cached_property
    def _by_key(self) -> Mapping[str, Document]:
        return {document.key: document for document in self._documents}


class Experts(ExpertsText):
    """Choices of the routers on documents and on captioned pictures."""

    Config: ClassVar[type[TaskConfig]] = ExpertsOfficialConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "text_path", "pictures_path"})
    config: ExpertsOfficialConfig

    def check(self) -> None:
        """Raise one UserError for text and pictures together."""
        problems: list[UserError] = []
        for read in (lambda: self._documents, lambda: self._pictures):
            try:
                read()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )

    def data_identity(self) -> str:
        return stable_hash([super().data_identity(), identity_of(self._pictures)])

    def samples(self) -> Iterator[Sample]:
        """Documents and pictures in turn, so that any limit has some of both."""
        pictures = ((inputs_of(row), f"picture {row.sha256 or row.name}") for row in self._pictures)
        return make_samples(in_turns(self._document_rows(), pictures))

    def picture_of(self, sample: Sample) -> Picture:
        return self._by_name[sample.inputs["picture"]].picture()

    @cached_property
    def _pictures(self) -> Sequence[CaptionedPicture]:
        count = self.config.pictures
        return read_pictures(
            self.config.pictures_path,
            setting="experts.pictures_path",
            pictures=count,
            files=[_file(self.card.name, data.files_of(self.card), "cc12m")],
            data_dir=self.data_dir,
            task=self.card.name,
        )[:count]

    @cached_property
    def _by_name(self) -> Mapping[str, CaptionedPicture]:
        return {row.name: row for row in self._pictures}


def in_turns(first_rows: Iterable[T], second_rows: Iterable[T]) -> Iterator[T]:
    """One of each, as long as there are both, and then what is left."""
    missing = object()
    pairs = zip_longest(first_rows, second_rows, fillvalue=missing)
    return (row for row in chain.from_iterable(pairs) if row is not missing)  # type: ignore[misc]


def _file(task: str, files: Sequence[DataFile], folder: str) -> DataFile:
    found = list(islice((file for file in files if file.name.startswith(f"{folder}/")), 1))
    if not found:
        raise ValueError(f"the card of {task} lists no file of {folder}")
    return found[0]
