"""`dclm`: perplexity of documents of DCLM-Baseline that are kept out of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unimm_eval import data
from unimm_eval.api import TaskConfig
from unimm_eval.tasks.dclm.shard import ShardDocument, read_shard
from unimm_eval.tasks.text.documents import DocumentsConfig, DocumentsTask


class DclmConfig(DocumentsConfig):
    path: Path | None = Field(
        None, description="another shard: JSON lines, plain or packed with zstd or gzip"
    )
    documents: int = Field(2000, ge=1, description="documents from the beginning of the shard")


class Dclm(DocumentsTask):
    """Perplexity of the first documents of a shard of DCLM-Baseline."""

    Config: ClassVar[type[TaskConfig]] = DclmConfig
    config: DclmConfig

    def read(self) -> Sequence[ShardDocument]:
        """Documents of the pinned shard, checked to be that one, or of the user's."""
        path = self.config.path
        if path is None:
            (file,) = data.files_of(self.card)
            return read_shard(
                data.verify(file, self.data_dir, task="dclm"), documents=self.config.documents
            )
        return read_shard(path.expanduser(), documents=self.config.documents)
