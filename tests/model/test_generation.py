"""Generation: every row of a batch is what it is alone, and every cache what one full pass is."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny import MOE, batch_of, picture, tiny_model, tokenizer

from unimm_eval.model import flow
from unimm_eval.model.generate import (
    FrameContext,
    Sampling,
    Session,
    choice_ids,
    choose_text,
    continue_with_pictures,
    generate_interleaved,
    generate_pictures,
    num_evaluations,
    seeded_noise,
    solve,
    unconditional,
)
from unimm_eval.model.sequence import (
    PictureSegment,
    TextSegment,
    document_length,
    frames_document,
    question_document,
)

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
LONG = replace(MOE, max_length=256)
WORDS = tokenizer()


def text(words, *, begin=True):
    return TextSegment(ids=[*([WORDS.bos] if begin else ()), *WORDS.encode(words)])


@pytest.fixture
def model():
    return tiny_model(LONG)


@pytest.fixture
def asked(monkeypatch):
    """(rows, t) of every velocity that a session is asked for."""
    calls = []
    original = Session.denoise

    def denoise(self, z, t):
        calls.append((len(z), float(t)))
        return original(self, z, t)

    monkeypatch.setattr(Session, "denoise", denoise)
    return calls


def full_pass(model, document):
    """Hidden states [S, D] of one document without a cache, and its packed batch."""
    batch = batch_of(model.config, [[document]], length=document_length(document))
    z = flow.noisy(batch.latents_ITC, batch.noise_ITC, batch.t_I[:, None, None])
    return model.hidden(batch, z)[0], batch


def painted(model, prefix, noise, *, steps, scale):
    """Latents [T, C] behind `prefix` (which ends in <boi>) by Euler, each evaluation a full pass
    over the guided and another over the unguided document."""
    z = noise
    for t, following in pairwise(flow.euler_times(steps, model.alpha)):
        velocities = []
        for document in (prefix, unconditional(WORDS)):
            shown = PictureSegment(latents=z.numpy(), t=float(t), noise=None)
            length = document_length([*document, shown])
            batch = batch_of(model.config, [[[*document, shown]]], length=length)
            hidden = model.hidden(batch, batch.latents_ITC)[0, batch.index_IT[-1]]
            velocities.append(model.velocity(model.latent_out(hidden), z, t, clamp=0.0))
        conditional, free = velocities
        z = z + (following - t) * (free + scale * (conditional - free))
    return z


# --- the solver


SPREAD = 0.5


def gaussian_flow(z, t):
    """The exact velocity of data ~ N(0, SPREAD²), which leads from z(0) to SPREAD·z(0)."""
    return (t * SPREAD**2 - (1 - t)) / (t**2 * SPREAD**2 + (1 - t) ** 2) * z


def error(steps, solver, *, alpha=1.0):
    z0 = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    z = solve(gaussian_flow, z0, num_steps=steps, alpha=alpha, solver=solver)
    return float((z - SPREAD * z0).abs().max())


@pytest.mark.parametrize("alpha", [0.87, 1.0, 2.0])
def test_heun_is_nearer_to_the_solution_than_euler_with_twice_the_steps(alpha):
    for steps in (16, 25, 50):
        assert error(steps, "heun", alpha=alpha) < error(2 * steps, "euler", alpha=alpha) / 2


def test_the_order_of_euler_is_one_and_of_heun_two():
    for solver, factor in (("euler", 2), ("heun", 4)):
        for steps in (32, 64):
            ratio = error(steps, solver) / error(2 * steps, solver)
            assert ratio == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 25), ("heun", 49)])
def test_a_solver_asks_as_often_as_it_says_and_never_at_one(solver, evaluations):
    times = []

    def velocity(z, t):
        times.append(float(t))
        return z

    solve(velocity, torch.ones(2), num_steps=25, alpha=2.0, solver=solver)
    assert len(times) == num_evaluations(25, solver) == evaluations
    assert times[0] == 0
    assert max(times) < 1


def test_a_solver_that_cannot_work_is_refused():
    noise = torch.ones(1)
    with pytest.raises(ValueError, match="solver must be one of"):
        solve(gaussian_flow, noise, num_steps=2, alpha=1.0, solver="rk4")
    with pytest.raises(ValueError, match="num_steps"):
        solve(gaussian_flow, noise, num_steps=0, alpha=1.0)


def test_the_solver_of_pictures_is_the_one_asked_for(model, asked):
    pictures = {
        solver: generate_pictures(
            model, WORDS, ["a red circle"], seeds=[1], num_inference_steps=4, solver=solver
        )
        for solver in ("euler", "heun")
    }
    assert len(asked) == 4 + 7
    assert not torch.allclose(pictures["euler"], pictures["heun"])


# --- pictures


@pytest.mark.parametrize(("scale", "rows"), [(0.0, 3), (1.0, 3), (3.0, 6)])
def test_only_the_halves_of_guidance_that_count_are_computed(model, asked, scale, rows):
    prompts = ["a", "a red circle", "yes"]
    seeds = [1, 2, 3]
    settings = {"guidance_scale": scale, "num_inference_steps": 3}
    z = generate_pictures(model, WORDS, prompts, seeds=seeds, **settings)
    assert {count for count, _ in asked} == {rows}
    noise = seeded_noise(seeds, tokens=LONG.latent_tokens, channels=LONG.latent_channels)
    for row, prompt in enumerate(prompts):
        prefix = [text(prompt), TextSegment(ids=[WORDS.boi])]
        simple = painted(model, prefix, noise[row], steps=3, scale=scale)
        torch.testing.assert_close(z[row], simple, **TOLERANCE)


MIXED = [
    [text("")],
    [text("a red circle")],
    [text("what color is the bar? a ring left of a moon")],
    question_document(WORDS, [picture(LONG, seed=1)], "the same in red"),
    question_document(WORDS, [picture(LONG, seed=2), picture(LONG, seed=3)], "a ring"),
    [text("yes")],
    [text("a ring"), TextSegment(ids=[WORDS.boi]), picture(LONG, seed=4), text("", begin=False)],
    [text("a red circle")],
]


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("prediction", ["x", "v"])
def test_a_picture_among_eight_behind_mixed_documents_is_the_one_it_is_alone(solver, prediction):
    model = tiny_model(replace(LONG, prediction=prediction))
    settings = {"num_inference_steps": 4, "solver": solver}
    seeds = [11, 12, 13, 14, 15, 16, 17, 12]
    together = continue_with_pictures(model, WORDS, MIXED, seeds=seeds, **settings)
    for row, (document, seed) in enumerate(zip(MIXED, seeds, strict=True)):
        alone = continue_with_pictures(model, WORDS, [document], seeds=[seed], **settings)
        torch.testing.assert_close(together[row], alone[0], **TOLERANCE)
    torch.testing.assert_close(together[1], together[7], **TOLERANCE)
    assert (together[1] - together[2]).abs().max() > 0.1


def test_a_picture_behind_pictures_and_text_is_what_full_passes_paint(model):
    document = MIXED[4]
    (z,) = continue_with_pictures(
        model, WORDS, [document], seeds=[5], guidance_scale=2.0, num_inference_steps=3
    )
    (noise,) = seeded_noise([5], tokens=LONG.latent_tokens, channels=LONG.latent_channels)
    prefix = [*document, TextSegment(ids=[WORDS.boi])]
    simple = painted(model, prefix, noise, steps=3, scale=2.0)
    torch.testing.assert_close(z, simple, **TOLERANCE)


# --- sessions


def test_texts_of_any_length_are_appended_in_one_pass_as_token_by_token(model):
    documents = MIXED[:4]
    texts = [WORDS.encode("a red moon"), [], WORDS.encode("yes"), WORDS.encode("a ring left")]
    together = Session(model, documents, new_tokens=30, pad=WORDS.pad)
    together.append(texts)
    for row, ids in enumerate(texts):
        alone = Session(model, [documents[row]], new_tokens=30, pad=WORDS.pad)
        for token in ids:
            alone.append([[token]])
        torch.testing.assert_close(together.last_RD[row], alone.last_RD[0], **TOLERANCE)
        assert together.cache.lengths_B[row] == alone.cache.lengths_B[0]


def test_rows_that_are_full_go_along_without_harm(model):
    short, long = [text("a")], [text("what color is the bar?")]
    session = Session(model, [short, long], new_tokens=3, pad=WORDS.pad)
    ids = WORDS.encode("a red circle")[:3]
    session.append([[], ids])
    full = session.last_RD[1].clone()
    for token in ids:
        session.append([[token], []])
    alone = Session(model, [short], new_tokens=3, pad=WORDS.pad)
    alone.append([ids])
    torch.testing.assert_close(session.last_RD[0], alone.last_RD[0], **TOLERANCE)
    assert torch.equal(session.last_RD[1], full)


def test_a_selection_goes_on_like_its_rows_and_leaves_them_alone(model):
    session = Session(model, MIXED[:4], new_tokens=0, pad=WORDS.pad)
    picked = session.select([3, 1, 3], new_tokens=8)
    ids = WORDS.encode("a ring")
    picked.append([ids, ids, ids[:1]])
    for row, source in enumerate((3, 1)):
        alone = Session(model, [MIXED[source]], new_tokens=8, pad=WORDS.pad)
        alone.append([ids])
        torch.testing.assert_close(picked.last_RD[row], alone.last_RD[0], **TOLERANCE)
    assert session.cache.lengths_B.tolist() == [document_length(one) for one in MIXED[:4]]
    with pytest.raises(ValueError, match="max_length"):
        session.select([0, 1], new_tokens=LONG.max_length)


# --- text


def test_top_p_keeps_the_smallest_set_that_holds_so_much():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    drawn = {
        top_p: {
            Sampling(temperature=1.0, top_p=top_p).next(logits, torch.Generator().manual_seed(s))
            for s in range(100)
        }
        for top_p in (0.4, 0.6, 0.9, 1.0)
    }
    assert drawn == {0.4: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}, 1.0: {0, 1, 2, 3}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"temperature": -1.0}, "temperature"), ({"top_p": 0.0}, "top_p"), ({"top_p": 1.5}, "top_p")],
)
def test_sampling_that_cannot_work_is_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        Sampling(**changes)


def test_equal_choices_count_as_the_first_of_them(model):
    documents = MIXED[3:5]
    long, longer = "a ring left of", "a ring left of a moon"
    assert len(WORDS.encode(long)) > 1
    doubled = [(long, long, longer, long, longer), ("yes", "yes")]
    single = [(long, longer), ("yes",)]
    chosen, expected = (
        choose_text(
            Session(model, documents, new_tokens=30, pad=WORDS.pad),
            [choice_ids(WORDS, texts) for texts in choices],
        )
        for choices in (doubled, single)
    )
    assert chosen == [(0, 2)[expected[0]], 0]


# --- text and pictures in turn


class Switching:
    """Asks for a picture at its n-th tokens and otherwise samples text that never ends by itself.
    One object serves one generation."""

    def __init__(self, *pictures, end=None, temperature=1.0):
        self.pictures, self.end, self.count = pictures, end, 0
        self.sampling = Sampling(temperature=temperature, top_p=0.9)

    def next(self, logits, generator):
        self.count += 1
        if self.count == self.end:
            return WORDS.eos
        if self.count in self.pictures:
            return WORDS.boi
        logits = logits.clone()
        logits[[WORDS.eos, WORDS.eot, WORDS.boi]] = -torch.inf
        return self.sampling.next(logits, generator)


SWITCHES = [(3,), (2, 9, 12), (), (5, 6), (1,)]
ENDS = [10, None, 7, None, 2]


def interleave(model, rows, **changes):
    settings = {"guidance_scale": 2.0, "num_inference_steps": 3, "max_new_tokens": 40, **changes}
    return generate_interleaved(
        model,
        WORDS,
        [MIXED[row] for row in rows],
        seeds=[100 + row for row in rows],
        sampling=[Switching(*SWITCHES[row], end=ENDS[row]) for row in rows],
        **settings,
    )


def test_documents_that_switch_at_different_moments_are_what_they_are_alone(model, asked):
    together = interleave(model, range(5))
    # Pictures wait for one another: rows 0, 1, 3 and 4 paint together, then 1 and 3, then 1.
    assert [rows for rows, _ in asked] == [8] * 3 + [4] * 3 + [2] * 3
    for row, document in enumerate(together):
        (alone,) = interleave(model, [row])
        assert [type(part) for part in document] == [type(part) for part in alone]
        assert sum(isinstance(part, PictureSegment) for part in document) == len(SWITCHES[row])
        for ours, theirs in zip(document, alone, strict=True):
            if isinstance(ours, TextSegment):
                assert ours.ids == theirs.ids
            else:
                torch.testing.assert_close(
                    torch.from_numpy(ours.latents), torch.from_numpy(theirs.latents), **TOLERANCE
                )
    assert [document_length(document) for document in together] == [
        9 + LONG.latent_tokens + 1, 40, 6, 40, 1 + LONG.latent_tokens + 1
    ]  # fmt: skip


def test_what_follows_a_picture_is_what_a_full_pass_over_the_clean_one_says(model):
    prompt = MIXED[1]
    (result,) = generate_interleaved(
        model,
        WORDS,
        [prompt],
        seeds=[7],
        max_new_tokens=40,
        sampling=[Switching(2, 8, temperature=0.0)],
        guidance_scale=2.0,
        num_inference_steps=3,
    )
    whole = [*prompt, *result]
    hidden, batch = full_pass(model, whole)
    logits = model.text_head(hidden)
    logits[:, [WORDS.eos, WORDS.eot, WORDS.boi]] = -torch.inf
    image = set(batch.index_IT.flatten().tolist())
    tokens = batch.tokens_BS[0].tolist()
    checked = 0
    for at in range(document_length(prompt), len(tokens)):
        if at not in image and tokens[at] not in (WORDS.boi, WORDS.eoi):
            assert int(logits[at - 1].argmax()) == tokens[at]
            checked += 1
    assert checked == 40 - 2 * (LONG.latent_tokens + 2)
    second = 3  # text, picture, text, picture, text
    noise = torch.Generator().manual_seed(7)
    draws = [torch.randn(LONG.latent_tokens, LONG.latent_channels, generator=noise) for _ in "12"]
    simple = painted(model, [*prompt, *result[:second]], draws[1], steps=3, scale=2.0)
    torch.testing.assert_close(torch.from_numpy(result[second].latents), simple, **TOLERANCE)


def test_a_picture_without_room_ends_the_document(model):
    tokens = LONG.latent_tokens
    for room, pictures in ((tokens + 2, 0), (tokens + 3, 1), (tokens + 4, 1)):
        (result,) = interleave(model, [1], max_new_tokens=room)
        assert sum(isinstance(part, PictureSegment) for part in result) == pictures
        assert document_length(result) == (room if pictures else 1)


# --- frames


FRAMES = [picture(LONG, seed=seed) for seed in (31, 32, 33)]
ACTIONS = [("a ring", "yes"), ("a red moon left of the bar", "no"), ("", "what color")]
SETTINGS = {"guidance_scale": 2.0, "num_inference_steps": 3}


@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0}, {"solver": "heun"}])
def test_a_rollout_is_the_same_alone_in_a_batch_and_from_a_context_of_its_own(model, changes):
    settings = {**SETTINGS, **changes}
    shared = FrameContext(model, WORDS, FRAMES)
    together = shared.rollout(ACTIONS, seeds=[1, 2, 3], keep="all", **settings)
    assert together.shape == (3, 2, LONG.latent_tokens, LONG.latent_channels)
    for row, actions in enumerate(ACTIONS):
        alone = shared.rollout([actions], seeds=[row + 1], keep="all", **settings)
        torch.testing.assert_close(together[row], alone[0], **TOLERANCE)
        own = FrameContext(model, WORDS, FRAMES)
        separate = own.rollout([actions], seeds=[row + 1], keep="all", **settings)
        torch.testing.assert_close(together[row], separate[0], **TOLERANCE)
    last = shared.rollout(ACTIONS, seeds=[1, 2, 3], **settings)
    assert torch.equal(last, together[:, -1:])


def test_each_frame_of_a_rollout_is_what_full_passes_over_the_clean_ones_paint(model):
    actions = ACTIONS[1]
    (frames,) = FrameContext(model, WORDS, FRAMES).rollout(
        [actions], seeds=[2], keep="all", **SETTINGS
    )
    generator = torch.Generator().manual_seed(2)
    steps = []
    for action, frame in zip(actions, frames, strict=True):
        noise = torch.randn(LONG.latent_tokens, LONG.latent_channels, generator=generator)
        before = [*WORDS.encode(action), WORDS.boi]
        prefix = [*frames_document(WORDS, FRAMES, steps), TextSegment(ids=before)]
        simple = painted(model, prefix, noise, steps=3, scale=2.0)
        torch.testing.assert_close(frame, simple, **TOLERANCE)
        steps.append((action, PictureSegment(latents=frame.numpy())))


def test_a_dual_encoder_reads_each_finished_frame_again():
    config = replace(LONG, understanding_channels=6)
    model = tiny_model(config)
    model.reread = lambda z: z[..., :6].flip(-1) + 0.5
    rng = torch.Generator().manual_seed(0)

    def understood(latents):
        return PictureSegment(latents=latents.numpy(), understanding=True)

    context = [understood(torch.randn(config.latent_tokens, 6, generator=rng)) for _ in range(2)]
    actions = ACTIONS[0]
    (frames,) = FrameContext(model, WORDS, context).rollout(
        [actions], seeds=[4], keep="all", **SETTINGS
    )
    steps = [(actions[0], understood(model.reread(frames[0])))]
    before = TextSegment(ids=[*WORDS.encode(actions[1]), WORDS.boi])
    generator = torch.Generator().manual_seed(4)
    noise = [torch.randn(frames[0].shape, generator=generator) for _ in actions]
    prefix = [*frames_document(WORDS, context, steps), before]
    simple = painted(model, prefix, noise[1], steps=3, scale=2.0)
    torch.testing.assert_close(frames[1], simple, **TOLERANCE)


def test_frames_depend_on_context_action_and_seed(model):
    def last(frames, actions, seed):
        return FrameContext(model, WORDS, frames).rollout([actions], seeds=[seed], **SETTINGS)

    base = last(FRAMES, ("yes",), 1)
    assert torch.equal(base, last(FRAMES, ("yes",), 1))
    for other in (
        last(FRAMES[:2], ("yes",), 1), last(FRAMES, ("no",), 1), last(FRAMES, ("yes",), 2)
    ):  # fmt: skip
        assert (other - base).abs().max() > 1e-3


def test_a_rollout_fits_to_the_token_and_what_cannot_work_is_refused():
    context = len(frames_document(WORDS, FRAMES))
    frame = LONG.latent_tokens + 2
    needed = 1 + 3 * frame + len(WORDS.encode("yes")) + frame - 1
    for room in (needed, needed - 1):
        model = tiny_model(replace(LONG, max_length=room))
        frames = FrameContext(model, WORDS, FRAMES)
        assert frames.length(["yes"]) == needed
        if room == needed:
            frames.rollout([["yes"], [""]], seeds=[1, 2], **SETTINGS)
        else:
            with pytest.raises(ValueError, match="max_length"):
                frames.rollout([["yes"]], seeds=[1], **SETTINGS)
    assert context == 10
    for actions in ([], [[]], [["a"], ["a", "b"]]):
        with pytest.raises(ValueError, match="actions"):
            frames.rollout(actions, seeds=[1] * len(actions), **SETTINGS)
