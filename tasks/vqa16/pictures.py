"""Pictures of rows: hashed at planning without being decoded, read again when asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from unimm_eval.api import content_hash
from unimm_eval.tasks.vqa16.rows import Opened, Source


class RowPictures:
    """The pictures of a data set, in the rows themselves or in a table of their own."""

    def __init__(self, opened: Opened, source: Source) -> None:
        self._rows = opened.rows
        self._source = source
        self._table = opened.pictures

    def digest(self, row: Mapping[str, Any]) -> str | None:
        """SHA-256 of a row's picture, or None where it has none."""
        if self._apart is not None and self._source.pictures is not None:
            found = self._apart.get(row.get(self._source.pictures.named_by))
            return None if found is None else found[1]
        data = self._rows.picture_bytes(_first(row.get(self._source.picture)))
        return None if data is None else content_hash(data)

    def data(self, index: int) -> bytes | None:
        """The file of the picture of row `index`."""
        row = self._rows.row(index)
        spec = self._source.pictures
        if self._apart is None or self._table is None or spec is None:
            return self._rows.picture_bytes(_first(row.get(self._source.picture)))
        found = self._apart.get(row.get(spec.named_by))
        if found is None:
            return None
        return self._table.picture_bytes(self._table.row(found[0])[spec.picture])

    @cached_property
    def _apart(self) -> dict[Any, tuple[int, str | None]] | None:
        """Name of a picture → its row and its SHA-256; None where pictures stand in the rows."""
        table, spec = self._table, self._source.pictures
        if table is None or spec is None:
            return None
        found = {}
        for place, row in enumerate(table):
            data = table.picture_bytes(row[spec.picture])
            found[row[spec.key]] = place, None if data is None else content_hash(data)
        return found


def _first(value: Any) -> Any:
    """The picture, of a list of one."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return value[0] if value else None
    return value
