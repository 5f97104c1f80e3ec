"""Training on rooms shows what a rollout shows, token for token."""

import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint
from small_recipe import small_recipe

from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import Picture
from unimm_eval.api.actions import parse_action
from unimm_eval.model.encoders import RawPixels
from unimm_eval.model.generate import Session, unconditional
from unimm_eval.model.sequence import (
    PictureSegment,
    TextSegment,
    document_length,
    navigation_document,
)
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.mixture import WorldMixture
from unimm_eval.train.recipe import Recipe
from unimm_eval.world.rooms_drive import CONTEXT, MOST_ACTIONS
from unimm_eval.world.rooms_words import SENTENCES

PICTURE = "picture"


def rooms_recipe(**changes) -> Recipe:
    values = small_recipe(**changes).model_dump()
    values["stages"][0]["mixture"] = {"rooms": 1.0}
    return Recipe(**values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return Tokenizer.load(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def documents(tokenizer):
    mixture = WorldMixture(rooms_recipe(), tokenizer)
    return [document for k in range(60) for document in mixture.row(k)]


def flat(document):
    """Ids one by one; PICTURE for each token of one."""
    return [
        token
        for part in document
        for token in (part.ids if isinstance(part, TextSegment) else [PICTURE] * len(part.latents))
    ]


def pictures_of(document):
    return [part for part in document if isinstance(part, PictureSegment)]


def actions_of(document, tokenizer):
    """The texts between pictures that are not the tokens around them."""
    texts, ids = [], []
    for part in document:
        if isinstance(part, TextSegment):
            ids += part.ids
        else:
            texts.append(tokenizer.decode(ids))
            ids = []
    return texts[CONTEXT:]


class Shown:
    """What the first row of a session is shown, from its documents to the last frame."""

    def __init__(self, monkeypatch):
        self.first, self.tokens = None, []
        begin, append, commit, denoise = (
            Session.__init__, Session.append, Session.commit, Session.denoise
        )  # fmt: skip
        self.latents = []

        def on_begin(session, model, documents, **settings):
            self.first = flat(documents[0])
            self.latents = [part.latents for part in pictures_of(documents[0])]
            begin(session, model, documents, **settings)

        def on_append(session, ids):
            self.tokens += ids[0]
            return append(session, ids)

        def on_commit(session, z, rows):
            self.tokens += [PICTURE] * z.shape[1]
            return commit(session, z, rows)

        def on_denoise(session, z, t):
            self.last = [PICTURE] * z.shape[1]
            return denoise(session, z, t)

        monkeypatch.setattr(Session, "__init__", on_begin)
        monkeypatch.setattr(Session, "append", on_append)
        monkeypatch.setattr(Session, "commit", on_commit)
        monkeypatch.setattr(Session, "denoise", on_denoise)


@pytest.mark.parametrize("count", range(1, MOST_ACTIONS + 1))
def test_a_rollout_is_shown_what_training_showed(folder, tokenizer, documents, monkeypatch, count):
    document = next(d for d in documents if len(pictures_of(d)) == CONTEXT + count)
    actions = actions_of(document, tokenizer)
    latents = np.stack([part.latents for part in pictures_of(document)[:CONTEXT]])
    context = [
        Picture(array=frame) for frame in RawPixels().decode(torch.from_numpy(latents)).numpy()
    ]
    model = UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")
    shown = Shown(monkeypatch)
    model.open_context(context).rollout(
        [actions], seeds=[0], guidance_scale=1.0, num_inference_steps=1
    )
    assert [*shown.first, *shown.tokens, *shown.last, tokenizer.eoi] == flat(document)
    assert np.allclose(latents, np.stack(shown.latents), atol=1e-6)


def test_what_is_dropped_is_what_guidance_steers_away_from(tokenizer, documents):
    dropped = [document for document in documents if len(pictures_of(document)) == 1]
    assert dropped
    for document in dropped:
        begin = flat(unconditional(tokenizer))
        assert flat(document) == [*begin, *[PICTURE] * TINY.latent_tokens, tokenizer.eoi]
    everything = rooms_recipe(condition_dropout=0.0)
    rows = WorldMixture(everything, tokenizer)
    assert all(len(pictures_of(d)) > CONTEXT for k in range(10) for d in rows.row(k))


def test_the_last_frame_alone_is_noised_and_no_token_is_a_target(documents):
    for document in documents:
        *before, last = pictures_of(document)
        assert last.flow
        assert last.t < 1
        assert all(part.t == 1 and not part.flow for part in before)
        assert not any(part.loss for part in document if isinstance(part, TextSegment))
        assert document_length(document) <= 256


def test_another_frame_with_a_flow_loss_is_refused(tokenizer):
    clean = PictureSegment(latents=np.zeros((16, 192), np.float32))
    noised = PictureSegment(latents=clean.latents, t=0.5, noise=clean.latents, flow=True)
    for context, steps in (([clean], [("", clean)]), ([noised], [("", noised)])):
        with pytest.raises(ValueError, match="last frame alone"):
            navigation_document(tokenizer, context, steps)


def test_actions_are_motions_and_sentences(documents, tokenizer):
    actions = [action for document in documents for action in actions_of(document, tokenizer)]
    motions = [parse_action(action) for action in actions]
    assert any(motion and motion.dx > 2 for motion in motions)
    words = {action for action, motion in zip(actions, motions, strict=True) if motion is None}
    assert words & set(SENTENCES)
    assert all(word in SENTENCES or word.endswith("pillar") for word in words)


def test_a_row_is_a_function_of_its_number_alone(tokenizer):
    forward, again = (WorldMixture(rooms_recipe(), tokenizer) for _ in range(2))
    again.row(1)
    for one, other in zip(forward.row(3), again.row(3), strict=True):
        assert flat(one) == flat(other)
        pairs = zip(pictures_of(one), pictures_of(other), strict=True)
        assert all(np.array_equal(a.latents, b.latents) and a.t == b.t for a, b in pairs)


def test_a_later_stage_with_rooms_changes_no_row_and_no_identity_before_it(tokenizer):
    values = small_recipe().model_dump()
    values["stages"][0]["mixture"] = {"text": 1.0}
    plain = Recipe(**values)
    values["stages"] = [*values["stages"], {"from_step": 4, "mixture": {"rooms": 1.0}}]
    longer = Recipe(**values)
    assert longer.identity(4) == plain.identity(4)
    assert longer.identity(5) != plain.identity(5)
    before, after = (WorldMixture(recipe, tokenizer) for recipe in (plain, longer))
    for k in range(3):
        assert list(map(flat, after.row(k))) == list(map(flat, before.row(k)))
    assert all(
        len(pictures_of(document)) in (1, *range(CONTEXT + 1, CONTEXT + MOST_ACTIONS + 1))
        for document in after.row(4 * longer.rows)
    )


def test_short_rooms_have_fewer_frames_and_twice_the_targets(tokenizer, documents):
    values = rooms_recipe().model_dump()
    values["stages"][0]["mixture"] = {"short_rooms": 1.0}
    mixture = WorldMixture(Recipe(**values), tokenizer)
    short = [document for k in range(60) for document in mixture.row(k)]
    assert {len(pictures_of(document)) for document in short} == {1, 2, 3, 4}
    assert all(pictures_of(document)[-1].flow for document in short)
    assert len(short) > 1.8 * len(documents)
