"""Pictures of a run, by content: `media/ab/abcd….png`.

A picture is durable before the row that names it is committed, so a row never points at nothing;
a crash may leave pictures that no row names, which is harmless.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from unimm_eval.api import Picture, content_hash
from unimm_eval.engine.files import explained, sync_folder, write_renamed


class MediaStore:
    """The folder of pictures of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pictures: Sequence[bytes]) -> list[str]:
        """Keep PNG files durably; their names, by content, in the same order."""
        names = [f"{content_hash(data)}.png" for data in pictures]
        touched: set[Path] = set()
        with explained(self.folder):
            for name, data in zip(names, pictures, strict=True):
                path = self.path(name)
                if not path.parent.is_dir():
                    path.parent.mkdir(parents=True)
                    touched |= {self.folder.parent, self.folder}
                if not path.is_file():
                    write_renamed(path, data)
                touched.add(path.parent)
            for folder in sorted(touched):
                sync_folder(folder)
        return names

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def picture(self, name: str) -> Picture:
        return Picture(path=self.path(name), expected=name.removesuffix(".png"))

    def missing(self, names: Iterable[str]) -> set[str]:
        """Those that are not there, removed by hand after they were damaged."""
        return {name for name in dict.fromkeys(names) if not self.path(name).is_file()}
