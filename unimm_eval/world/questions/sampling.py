"""Questions of a family, for training and for evaluation.

Evaluation fixes words and answer first, by draws in which every admissible answer comes equally
often, and only then looks for a picture that shows, or does not show, a held-out combination: by
exchanging shapes and colours that neither words nor answer mention. So the share of held-out
samples is set without bending the answers. Training refuses held-out pictures altogether.
"""

from dataclasses import replace

import numpy as np

from unimm_eval.world.draw import Split, coin, pick, pick_some, rng_for
from unimm_eval.world.holdout import HELD_OUT_SHARE, picture_is_held_out
from unimm_eval.world.questions import general, knowledge, ocr_chart, vision
from unimm_eval.world.questions.base import (
    Draft,
    Family,
    PairKind,
    PictureKind,
    Question,
    SceneKind,
)
from unimm_eval.world.scenes import COLOR_NAMES, SHAPES, Scene, arrange

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (general, knowledge, ocr_chart, vision)
    for family in module.FAMILIES
}

_SHARED = tuple(
    (family, kind)
    for family in FAMILIES.values()
    for kind in family.kinds
    if isinstance(kind, SceneKind) and kind.shared
)
_TRIES = 40


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _finish(family: Family, draft: Draft, *, held_out: bool, pair: int | None = None) -> Question:
    return Question(
        family=family.name,
        group=family.group,
        picture=draft.picture,
        question=draft.question,
        choices=draft.choices,
        answer=draft.answer,
        held_out=held_out,
        pair=pair,
    )


def _exchanged(rng: np.random.Generator, draft: Draft, scene: Scene) -> Scene:
    """`scene` with those shapes, colours and places changed on which the draft does not depend."""
    mentioned = f"{draft.question} {draft.answer} {' '.join(draft.bound)}"
    names: dict[str, str] = {}
    for kind in (SHAPES, COLOR_NAMES):
        free = [name for name in kind if name not in mentioned]
        names.update(zip(free, pick_some(rng, free, len(free)), strict=True))
    things = [
        replace(t, shape=names.get(t.shape, t.shape), color=names.get(t.color, t.color))
        for t in scene.things
    ]
    if draft.movable:
        return arrange(rng, shapes=[t.shape for t in things], colors=[t.color for t in things])
    return Scene(things=tuple(things))


def _draft(
    rng: np.random.Generator, kind: SceneKind | PictureKind, split: Split, wanted: bool
) -> Draft:
    """A draft whose picture is held out iff `wanted`, if its words and answer allow that."""
    if isinstance(kind, PictureKind):
        return kind.draw(rng, split, lambda picture: picture_is_held_out(picture) == wanted)
    draft = None
    while draft is None:
        scene = kind.scene(rng)
        draft = kind.ask(rng, scene)
    for _ in range(_TRIES):
        if picture_is_held_out(draft.picture) == wanted:
            break
        draft = replace(draft, picture=_exchanged(rng, draft, scene))
    return draft


def _pair(
    rng: np.random.Generator, family: Family, kind: PairKind, split: Split, pair: int | None
) -> list[Question]:
    """Both questions of a pair in random order; held out if either picture is."""
    wanted = split != "train" and coin(rng, HELD_OUT_SHARE)
    while True:
        drafts = pick_some(rng, kind.draw(rng), 2)
        if any(picture_is_held_out(draft.picture) for draft in drafts) == wanted:
            return [_finish(family, draft, held_out=wanted, pair=pair) for draft in drafts]


def sample_question(rng: np.random.Generator, *, family: str, split: Split) -> Question:
    """A question of `family`; training has no held-out pictures, evaluation about a quarter."""
    chosen = _family(family)
    kind = pick(rng, chosen.kinds)
    if isinstance(kind, PairKind):
        return _pair(rng, chosen, kind, split, None)[0]
    wanted = split != "train" and coin(rng, HELD_OUT_SHARE)
    while True:
        draft = _draft(rng, kind, split, wanted)
        held_out = picture_is_held_out(draft.picture)
        if not (held_out and split == "train"):
            return _finish(chosen, draft, held_out=held_out)


def question_at(*, family: str, split: Split, index: int) -> Question:
    """Question number `index` of `family` in `split`, always the same one.

    Where questions come in pairs, numbers 2 i and 2 i + 1 are pair i.
    """
    chosen = _family(family)
    kind = chosen.kinds[0]
    if isinstance(kind, PairKind):
        pair, member = divmod(index, 2)
        rng = rng_for(split=split, purpose=f"question/{family}", index=pair)
        return _pair(rng, chosen, kind, split, pair)[member]
    rng = rng_for(split=split, purpose=f"question/{family}", index=index)
    return sample_question(rng, family=family, split=split)


def _is_distinct(scene: Scene) -> bool:
    """Whether every thing can be named by its shape alone and by its colour alone."""
    things = scene.things
    return len({t.shape for t in things}) == len({t.color for t in things}) == len(things)


def sample_questions(
    rng: np.random.Generator, *, split: Split, k: int, family: str | None = None
) -> list[Question]:
    """Up to `k` different questions about one picture, for training.

    The first is of `family`, or of any with equal chances. Further ones come from kinds that any
    scene of different shapes and colours admits; other pictures have one question. Answers are as
    balanced as one scene allows, not exactly: evaluate with `question_at`.
    """
    first = sample_question(rng, family=family or pick(rng, tuple(FAMILIES)), split=split)
    questions = [first]
    scene = first.picture
    if not isinstance(scene, Scene) or not _is_distinct(scene):
        return questions
    for other, kind in pick_some(rng, _SHARED, len(_SHARED)):
        if len(questions) >= k:
            break
        draft = kind.ask(rng, scene)
        if draft is not None and draft.question not in [q.question for q in questions]:
            questions.append(_finish(other, draft, held_out=first.held_out))
    return questions
