"""`text`: how well a model predicts any text of yours."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unimm_eval.api import TaskConfig, UserError
from unimm_eval.tasks.text.corpus import Passage, read_corpus
from unimm_eval.tasks.text.documents import DocumentsConfig, DocumentsTask


class TextConfig(DocumentsConfig):
    path: Path | None = Field(None, description="a text or JSONL file, or a folder of them")
    passage_bytes: int = Field(
        16384, ge=1024, description="plain files longer than this are cut into passages"
    )


class Text(DocumentsTask):
    """Bits per byte and perplexity of the user's own text."""

    Config: ClassVar[type[TaskConfig]] = TextConfig
    config: TextConfig
    wanted: ClassVar[str] = "the task `text` needs a text"

    def read(self) -> Sequence[Passage]:
        if self.config.path is None:
            raise UserError(
                self.wanted,
                fix=f"--set {self.card.name}.path=FILE (a text or JSONL file, or a folder of them)",
            )
        return read_corpus(
            self.config.path.expanduser(),
            passage_bytes=self.config.passage_bytes,
            setting=f"{self.card.name}.path",
        )
