"""Videos as sequences of frames, at one frame a second unless the recipe says otherwise.

They lie in a folder, or are named in a JSONL file (`video`). With captions the text of a video (a
`.txt` file beside it, or `caption` in the JSONL) is before its first frame and trained on. Every
frame is noised at a time of its own (paper §2.1); what of a video does not fit a row goes on in
another one.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from unimm_eval.model.sequence import Document, TextSegment, frames_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.files import VIDEOS, find_files
from unimm_eval.train.data.film import count_frames, read_frames
from unimm_eval.train.data.lines import Lines, index_lines, text_of
from unimm_eval.train.data.pixels import file_name
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.schema import VideoSource
from unimm_eval.train.data.show import Shown

_FAULTS = "faults.json"


class Videos(Records):
    """Videos that may be cut between frames."""

    cut = True

    def __init__(self, spec: VideoSource, files: Sequence[Path], folder: Path) -> None:
        self._list = _List(spec, files, folder)
        self._rate, self._captions = spec.frames_per_second, spec.captions
        self._counts = np.load(folder / "frames.npy", mmap_mode="r")
        self._faults = json.loads((folder / _FAULTS).read_text(encoding="utf-8"))

    @staticmethod
    def files(spec: VideoSource, name: str) -> list[Path]:
        beside = (".txt",) if spec.captions else ()
        return find_files(spec.path, source=name, suffixes=(*VIDEOS, ".jsonl", *beside))

    @staticmethod
    def index(spec: VideoSource, files: Sequence[Path], folder: Path) -> None:
        """Look how long each video is."""
        tables = [file for file in files if file.suffix == ".jsonl"]
        index_lines(tables, folder)
        videos = _List(spec, files, folder)

        def count(number: int) -> int | str:
            try:
                path = videos.path(number)
                return 0 if path is None else count_frames(path, rate=spec.frames_per_second)
            except BadRecord as error:
                return str(error)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = list(threads.map(count, range(len(videos))))
        faults = {number: found for number, found in enumerate(counts) if isinstance(found, str)}
        lengths = [found if isinstance(found, int) else 0 for found in counts]
        np.save(folder / "frames.npy", np.array(lengths, dtype=np.int32))
        (folder / _FAULTS).write_text(json.dumps(faults), encoding="utf-8")

    def __len__(self) -> int:
        return len(self._list)

    def place(self, number: int) -> str:
        return self._list.place(number)

    def read(self, number: int) -> Record | None:
        if (fault := self._faults.get(str(number))) is not None:
            raise BadRecord(fault)
        path = self._list.path(number)
        if path is None:
            return None
        frames = int(self._counts[number])

        def load(begin: int, end: int) -> list[np.ndarray]:
            return read_frames(path, rate=self._rate, begin=begin, end=end)

        return Record(
            texts=[self._list.caption(number)] if self._captions else [],
            pictures=frames,
            special=1 + 2 * frames,
            load=load,
        )

    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        frames = [shown.noised(number) for number in range(end - begin)]
        document = list(frames_document(tokenizer, frames))
        if record.texts and begin == 0:
            words = tokenizer.encode(record.texts[0])
            document[:2] = [TextSegment(ids=[tokenizer.bos, *words, tokenizer.boi])]
        return document


class _List:
    """Videos and their captions, by number."""

    def __init__(self, spec: VideoSource, files: Sequence[Path], folder: Path) -> None:
        tables = [file for file in files if file.suffix == ".jsonl"]
        self._files = [file for file in files if file.suffix.lower() in VIDEOS]
        self._lines = Lines(tables, folder)
        self._videos = Path(spec.videos).expanduser() if spec.videos is not None else None

    def __len__(self) -> int:
        return len(self._files) + len(self._lines)

    def place(self, number: int) -> str:
        if number < len(self._files):
            return self._files[number].name
        return self._lines.place(number - len(self._files))

    def path(self, number: int) -> Path | None:
        """None for an empty line. Raises BadRecord."""
        if number < len(self._files):
            return self._files[number]
        number -= len(self._files)
        fields = self._lines.object(number)
        if fields is None:
            return None
        if "video" not in fields:
            raise BadRecord("has no video")
        folder = self._videos or self._lines.file(number).parent
        return folder / file_name(fields["video"])

    def caption(self, number: int) -> str:
        """Raises BadRecord when there is none."""
        if number >= len(self._files):
            return text_of(self._lines.object(number - len(self._files)) or {}, "caption")
        beside = self._files[number].with_suffix(".txt")
        try:
            return text_of({"caption": beside.read_text(encoding="utf-8-sig")}, "caption")
        except (OSError, UnicodeDecodeError) as error:
            raise BadRecord(f"{beside.name} cannot be read as its caption") from error
