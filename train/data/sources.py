"""The sources that a recipe declares, opened: found, measured once, packed."""

from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.actions import Actions
from unimm_eval.train.data.bad import check_share
from unimm_eval.train.data.captions import Captions
from unimm_eval.train.data.conversations import Conversations
from unimm_eval.train.data.files import fingerprint
from unimm_eval.train.data.finite import FiniteSource, PackedRecords
from unimm_eval.train.data.latents import open_latents
from unimm_eval.train.data.measure import measure, measured
from unimm_eval.train.data.navigation import Navigation
from unimm_eval.train.data.records import Records
from unimm_eval.train.data.schema import SourceSpec, TextSource
from unimm_eval.train.data.show import Pictures
from unimm_eval.train.data.store import kept
from unimm_eval.train.data.texts import text_fingerprint
from unimm_eval.train.data.tokens import PackedTexts
from unimm_eval.train.data.video import Videos
from unimm_eval.train.recipe import Recipe

KINDS: dict[str, type[Records]] = {
    "captions": Captions,
    "video": Videos,
    "actions": Actions,
    "navigation": Navigation,
    "conversations": Conversations,
}
"""Sources with pictures, by kind."""


def used_sources(recipe: Recipe) -> list[str]:
    """The declared sources that a stage draws from, in the order of the declarations."""
    used = {name for stage in recipe.stages for name, share in stage.mixture.items() if share > 0}
    return [name for name in recipe.sources if name in used]


def with_fingerprints(recipe: Recipe) -> Recipe:
    """The recipe with the fingerprints of all sources that it draws from. Raises UserError for one
    that is not there, or is not the one that the recipe says it is."""
    sources = dict(recipe.sources)
    for name in used_sources(recipe):
        spec = sources[name]
        found = source_fingerprint(spec, name)
        if spec.fingerprint not in (None, found):
            raise UserError(
                f"sources.{name}: its content is not what it was when this run began",
                fix="Bring that content back, or train in another --output folder.",
            )
        sources[name] = spec.model_copy(update={"fingerprint": found})
    return recipe.model_copy(update={"sources": sources})


def source_fingerprint(spec: SourceSpec, name: str) -> str:
    """What makes two sources the same content, wherever it lies. Raises UserError."""
    if isinstance(spec, TextSource):
        return text_fingerprint(spec, name)
    kind = KINDS[spec.kind]
    return fingerprint(kind.files(spec, name))


def open_records(spec: Any, name: str, cache: Path) -> Records:
    """The records of a source with pictures, indexed once. Raises UserError."""
    kind = KINDS[spec.kind]
    files = kind.files(spec, name)
    key = [spec.kind, fingerprint(files), spec.settings()]
    folder = kept(cache, "index", key, lambda folder: kind.index(spec, files, folder))
    return kind(spec, files, folder)


def open_source(
    recipe: Recipe, name: str, *, tokenizer: Tokenizer, pictures: Pictures, cache: Path
) -> FiniteSource:
    """A source, its fingerprint known, ready to be drawn from. Raises UserError when too many of
    its records are bad."""
    spec = recipe.sources[name]
    found: FiniteSource
    if isinstance(spec, TextSource):
        found = PackedTexts(name, spec, tokenizer=tokenizer, cache=cache, length=recipe.length)
    else:
        records = open_records(spec, name, cache)
        tokens = pictures.encoder.tokens
        key = [spec.kind, spec.fingerprint, spec.settings()]

        def build(folder: Path) -> None:
            measure(records, folder, source=name, tokenizer=tokenizer, picture_tokens=tokens)

        folder = kept(cache, "lengths", [*key, tokenizer.fingerprint, tokens], build)
        found = PackedRecords(
            name,
            records,
            measured(folder, source=name),
            tokenizer=tokenizer,
            pictures=pictures,
            cached=open_latents(recipe, name, pictures.encoder),
            length=recipe.length,
        )
    if not found.records:
        raise UserError(f"sources.{name}: there is nothing in it")
    check_share(name, found.skips, of=found.records, share=recipe.max_bad_records)
    return found
