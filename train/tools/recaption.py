"""New captions of pictures by a vision-language model (paper, appendix G.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.judges import Question, without_thoughts
from unimm_eval.train.tools.asking import Asked, Sampling, Server, Watch, ask, silent
from unimm_eval.train.tools.folder import opened
from unimm_eval.train.tools.journal import Journal
from unimm_eval.train.tools.prompts import RECAPTION
from unimm_eval.train.tools.results import Done, write_results
from unimm_eval.train.tools.rows import captioned_rows, check_rows, picture_of, plain
from unimm_eval.train.tools.skipped import Skipped

CAPTIONS = "captions.jsonl"


@dataclass(frozen=True, kw_only=True)
class Recaption:
    """Which pictures get captions from whom; `prompt` is the system's instruction."""

    source: Path
    output: Path
    server: Server
    prompt: str = RECAPTION
    sampling: Sampling = field(default_factory=Sampling)
    max_skipped: float = 0.01


def recaption(job: Recaption, *, watch: Watch = silent) -> Done:
    """Ask for a caption of every picture that has none yet, then write all of them in the order of
    their rows. Raises UserError, or IncompleteError when the server was down."""
    if not job.prompt.strip():
        raise UserError("The prompt is empty.")
    rows = captioned_rows(job.source)
    skipped = Skipped(share=job.max_skipped)
    total = check_rows(job.source, rows, picture_of, skipped)
    sampling = job.sampling
    client = job.server.client(temperature=sampling.temperature, top_p=sampling.top_p)
    setup = {
        "tool": "recaption",
        "version": 1,
        "model": client.identity,
        "prompt": job.prompt,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
        "options": dict(job.server.limits.options),
    }
    with opened(job.output, setup), Journal(job.output) as journal:

        def questions() -> Iterator[Question]:
            for row, name in rows.usable(picture_of, skipped):
                if row.id not in journal:
                    yield Question(
                        key=Asked(key=row.id, place=row.place),
                        parts=(rows.picture(name),),
                        system=job.prompt,
                        max_new_tokens=sampling.max_new_tokens,
                        seed=sampling.seed_of(row.id),
                    )

        ask(
            client,
            questions(),
            journal=journal,
            read=read_caption,
            skipped=skipped,
            total=total,
            doing="captions",
            give_up_after=job.server.gives_up_after,
            watch=watch,
        )
        skipped.check(rows=total)
        captions = (
            recaptioned(row.fields, journal[row.id])
            for row, _ in rows.usable(picture_of, skipped)
            if row.id in journal
        )
        return write_results(job.output, {CAPTIONS: captions}, skipped)


def read_caption(text: str) -> str:
    """The text of an answer. Raises ValueError when it is empty."""
    return plain(without_thoughts(text))


def recaptioned(fields: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its new caption; the one that it had is kept as `original_caption`."""
    old = {"original_caption": fields["caption"]} if "caption" in fields else {}
    new = {"caption": answer["value"], "finish_reason": answer["finish_reason"]}
    return {**fields, **old, **new}
