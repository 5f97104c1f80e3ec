"""What the sources with pictures have in common: records that are found by number.

A record is read when it is needed. How many tokens it takes is measured once, before training.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unimm_eval.model.sequence import Document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.show import Shown


@dataclass(frozen=True, kw_only=True)
class Record:
    """Texts, and how many pictures there are; `special` counts the tokens that are neither, without
    those that the chat template has in each of the `turns` of a conversation.

    `load` gives uint8 [height, width, 3] of pictures from one number to before another, and raises
    BadRecord or SampleError. `condition` is how many of the pictures are left out together with
    the texts, for guidance; None where nothing ever is.
    """

    texts: Sequence[str]
    pictures: int
    special: int
    load: Callable[[int, int], list[np.ndarray]]
    condition: int | None = None
    turns: int = 0


class Records(ABC):
    """The records of a source, by number."""

    cut: ClassVar[bool] = False
    """Whether a document may be cut between two pictures; otherwise it stays whole."""

    @abstractmethod
    def __init__(self, spec: Any, files: Sequence[Path], folder: Path) -> None:
        """Open what `index` wrote of the same files."""

    @staticmethod
    @abstractmethod
    def files(spec: Any, name: str) -> list[Path]:
        """The files that hold them. Raises UserError when there are none."""

    @staticmethod
    @abstractmethod
    def index(spec: Any, files: Sequence[Path], folder: Path) -> None:
        """Write what finds a record by its number into `folder`. Raises UserError."""

    @abstractmethod
    def __len__(self) -> int:
        """Records, with those that turn out to be bad."""

    @abstractmethod
    def place(self, number: int) -> str:
        """Where a record stands, for people: `file:line`."""

    @abstractmethod
    def read(self, number: int) -> Record | None:
        """A record, None where there is nothing. Raises BadRecord."""

    @abstractmethod
    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        """The document of a record with its pictures from `begin` to before `end`, which are all
        of them unless `cut`; they are shown as 0, 1 and so on. Raises BadRecord or SampleError."""

    @property
    def conditioned(self) -> float:
        """Share of the documents that are to be guided, so that their condition is left out now and
        then."""
        return 1.0
