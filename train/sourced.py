"""Documents that know which source of a recipe they are from, so that losses are told apart."""

from collections.abc import Iterable

from unimm_eval.model.sequence import Document, PictureSegment, TextSegment


class Sourced(list[TextSegment | PictureSegment]):
    """A document, and the name that the recipe's stages give its source."""

    def __init__(self, parts: Iterable[TextSegment | PictureSegment], *, source: str) -> None:
        super().__init__(parts)
        self.source = source


def source_of(document: Document) -> str:
    """The source of a document; "unknown" where the mixture does not say."""
    return document.source if isinstance(document, Sourced) else "unknown"
