"""What physically happens between frames, said and then checked by a model (paper, appendix G.3).

The model says what action leads from the frames before to the frames after. It is then asked, in
two questions of their own, whether that is an action at all and whether it is what the frames show.
What gets two yeses is training data; the rest is kept apart.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimm_eval.api import Picture, UserError
from unimm_eval.judges import Question, without_thoughts, yes_or_no
from unimm_eval.train.tools.asking import Asked, Sampling, Server, Watch, ask, silent
from unimm_eval.train.tools.folder import opened
from unimm_eval.train.tools.journal import Journal
from unimm_eval.train.tools.prompts import ACTION, CHECK, DESCRIBES_ACTION, MATCHES_VIDEO
from unimm_eval.train.tools.results import Done, write_results
from unimm_eval.train.tools.rows import Row, Rows, check_rows, file_name, plain, transition_rows
from unimm_eval.train.tools.skipped import Skipped

ACTIONS = "actions.jsonl"
REJECTED = "rejected.jsonl"
MOST_FRAMES = 4
CHECKS: Mapping[str, str] = {
    "describes_action": DESCRIBES_ACTION,
    "matches_video": MATCHES_VIDEO,
}
"""The self-check: names of the verdicts, and what is asked."""
_CHECK_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Which transitions are described by whom; `frames` is the length of a chunk, for a folder."""

    source: Path
    output: Path
    server: Server
    prompt: str = ACTION
    frames: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    max_skipped: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Frames:
    """File names of the frames of two consecutive chunks."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def annotate(job: Annotate, *, watch: Watch = silent) -> Done:
    """Ask for every action that is not there yet, then for every verdict, then write both files in
    the order of the rows. Raises UserError, or IncompleteError when the server was down."""
    if not job.prompt.strip():
        raise UserError("The prompt is empty.")
    if not 1 <= job.frames <= MOST_FRAMES:
        raise UserError(f"frames is {job.frames}; a chunk has 1 to {MOST_FRAMES}.")
    rows = transition_rows(job.source, frames=job.frames)
    skipped = Skipped(share=job.max_skipped)
    total = check_rows(job.source, rows, frames_of, skipped)
    sampling = job.sampling
    teller = job.server.client(temperature=sampling.temperature, top_p=sampling.top_p)
    checker = job.server.client(temperature=0.0, top_p=1.0)
    setup = {
        "tool": "annotate-actions",
        "version": 1,
        "model": teller.identity,
        "prompt": job.prompt,
        "checks": [CHECK, *CHECKS.values()],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
        "options": dict(job.server.limits.options),
    }
    with opened(job.output, setup), Journal(job.output) as journal:

        def put(doing: str, questions: Iterator[Question], read: Callable[[str], Any]) -> None:
            ask(
                teller if doing == "actions" else checker,
                questions,
                journal=journal,
                read=read,
                skipped=skipped,
                total=total if doing == "actions" else total * (1 + len(CHECKS)),
                doing=doing,
                give_up_after=job.server.gives_up_after,
                watch=watch,
            )

        put("actions", _tellings(job, rows, journal, skipped), read_action)
        put("verdicts", _checks(job, rows, journal, skipped), read_verdict)
        skipped.check(rows=total)
        annotated = [ACTIONS, REJECTED]
        files = {
            name: _annotated(rows, journal, skipped, accepted=name == ACTIONS) for name in annotated
        }
        return write_results(job.output, files, skipped)


def frames_of(fields: Mapping[str, Any]) -> Frames:
    """The frames that a row names: one, or a list of 1 to 4. Raises ValueError."""
    found: dict[str, tuple[str, ...]] = {}
    for key in ("before", "after"):
        value = fields.get(key)
        names = value if isinstance(value, list) else [value]
        if not 1 <= len(names) <= MOST_FRAMES:
            raise ValueError(f"{key} has {len(names)} frames, not 1 to {MOST_FRAMES}")
        try:
            found[key] = tuple(file_name(name) for name in names)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return Frames(before=found["before"], after=found["after"])


def read_action(text: str) -> str:
    """The sentence of an answer, in one line. Raises ValueError when it is empty."""
    return " ".join(plain(without_thoughts(text)).split())


def read_verdict(text: str) -> bool:
    """Whether a check was answered yes. Raises ValueError for neither yes nor no."""
    return yes_or_no(text)


def _tellings(job: Annotate, rows: Rows, journal: Journal, skipped: Skipped) -> Iterator[Question]:
    for row, frames in rows.usable(frames_of, skipped):
        key = _key(row, "action")
        if key not in journal:
            yield Question(
                key=Asked(key=key, place=row.place),
                parts=_shown(rows, frames),
                system=job.prompt,
                max_new_tokens=job.sampling.max_new_tokens,
                seed=job.sampling.seed_of(key),
            )


def _checks(job: Annotate, rows: Rows, journal: Journal, skipped: Skipped) -> Iterator[Question]:
    """Two questions for each action that was said. The first is asked without the frames, for it is
    about the sentence alone."""
    for row, frames in rows.usable(frames_of, skipped):
        if _key(row, "action") not in journal:
            continue
        for name, words in CHECKS.items():
            key = _key(row, name)
            if key in journal:
                continue
            text = words.format(action=journal[_key(row, "action")]["value"])
            yield Question(
                key=Asked(key=key, place=row.place),
                parts=(*_shown(rows, frames), text) if name == "matches_video" else (text,),
                system=CHECK,
                max_new_tokens=_CHECK_TOKENS,
                seed=job.sampling.seed_of(key),
            )


def _shown(rows: Rows, frames: Frames) -> tuple[str | Picture, ...]:
    before = (rows.picture(name) for name in frames.before)
    after = (rows.picture(name) for name in frames.after)
    return ("Frames before:", *before, "Frames after:", *after)


def _annotated(
    rows: Rows, journal: Journal, skipped: Skipped, *, accepted: bool
) -> Iterator[dict[str, Any]]:
    for row, _ in rows.usable(frames_of, skipped):
        if not all(_key(row, name) in journal for name in ("action", *CHECKS)):
            continue
        verdicts = {name: journal[_key(row, name)]["value"] for name in CHECKS}
        if all(verdicts.values()) == accepted:
            yield {**row.fields, "action": journal[_key(row, "action")]["value"], **verdicts}


def _key(row: Row, name: str) -> str:
    return f"{row.id}/{name}"
