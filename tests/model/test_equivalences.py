"""Every fast path equals the simple one: cached, batched, packed."""

from itertools import pairwise

import pytest
import torch
from tiny import MOE, VARIANTS, batch_of, picture, tiny_model, tokenizer

from unimm_eval.model import flow
from unimm_eval.model.generate import (
    Sampling,
    Session,
    choice_ids,
    choose_text,
    generate_interleaved,
    generate_pictures,
    generate_text,
    seeded_noise,
    unconditional,
)
from unimm_eval.model.sequence import (
    PictureSegment,
    TextSegment,
    caption_document,
    document_length,
    question_document,
    text_document,
)

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


def documents(config=MOE):
    words = tokenizer()
    return [
        text_document(words, "a red circle"),
        caption_document(words, "a ring", picture(config, seed=1, t=0.3, flow=True)),
        question_document(words, [picture(config, seed=2), picture(config, seed=3)], "what color?"),
    ]


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_packed_documents_equal_separate_ones(config):
    model = tiny_model(config)
    docs = documents(config)
    total = sum(map(document_length, docs))
    packed = batch_of(config, [docs], length=total + 5)
    z = flow.noisy(packed.latents_ITC, packed.noise_ITC, packed.t_I[:, None, None])
    together = model.hidden(packed, z)[0]
    at = 0
    for document in docs:
        alone = batch_of(config, [[document]], length=document_length(document))
        z = flow.noisy(alone.latents_ITC, alone.noise_ITC, alone.t_I[:, None, None])
        separate = model.hidden(alone, z)[0]
        torch.testing.assert_close(together[at : at + len(separate)], separate, **TOLERANCE)
        at += len(separate)


def test_losses_of_packed_documents_are_the_sums_of_separate_ones():
    model = tiny_model()
    docs = documents()
    packed = model.losses(
        batch_of(MOE, [docs], length=sum(map(document_length, docs))), with_balance=False
    )
    parts = [
        model.losses(batch_of(MOE, [[d]], length=document_length(d)), with_balance=False)
        for d in docs
    ]
    for name in ("text_sum", "text_count", "flow_sum", "flow_count"):
        total = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(getattr(packed, name), total, atol=1e-4, rtol=1e-5)


def test_a_text_token_sees_only_its_past_and_a_picture_all_of_itself():
    model = tiny_model()
    document = documents()[2]
    batch = batch_of(MOE, [[document]], length=document_length(document))
    hidden = model.hidden(batch, batch.latents_ITC)[0]
    changed = batch.latents_ITC.clone()
    changed[1, -1] += 1.0  # the last token of the second picture
    first_of_second = int(batch.index_IT[1, 0])
    moved = (model.hidden(batch, changed)[0] - hidden).abs().amax(-1) > 1e-6
    assert not moved[:first_of_second].any()
    assert moved[first_of_second:].all()


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_cached_decoding_equals_one_pass_with_a_picture_in_the_prefix(config):
    model, words = tiny_model(config), tokenizer()
    prefix = question_document(words, [picture(config, seed=5)], "what color is the bar?")
    answer = words.encode("a red moon")
    later = picture(config, seed=6)
    whole = [
        *prefix,
        TextSegment(ids=[*answer, words.boi]),
        later,
        TextSegment(ids=[words.eoi, answer[0]]),
    ]
    batch = batch_of(config, [[whole]], length=document_length(whole))
    expected = model.hidden(batch, batch.latents_ITC)[0]

    session = Session(model, [prefix], new_tokens=40, pad=words.pad)
    states = [session.last_RD[0]]
    for token in [*answer, words.boi]:
        session.append([[token]])
        states.append(session.last_RD[0])
    session.denoise(torch.randn(1, config.latent_tokens, config.latent_channels), torch.tensor(0.5))
    session.commit(torch.from_numpy(later.latents)[None], [0])
    states.append(session.last_RD[0])
    for token in (words.eoi, answer[0]):
        session.append([[token]])
        states.append(session.last_RD[0])

    start = document_length(prefix) - 1
    after_text = start + len(answer) + 1
    index = [*range(start, after_text + 1), after_text + config.latent_tokens]
    index += [index[-1] + 1, index[-1] + 2]
    torch.testing.assert_close(torch.stack(states), expected[index], **TOLERANCE)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_denoising_step_from_the_cache_equals_one_full_pass(config):
    model, words = tiny_model(config), tokenizer()
    noise = seeded_noise([7], tokens=config.latent_tokens, channels=config.latent_channels)
    t = 0.4
    prefix = [TextSegment(ids=[words.bos, *words.encode("a red circle"), words.boi])]
    session = Session(model, [prefix], new_tokens=config.latent_tokens, pad=words.pad)
    cached = session.denoise(noise, torch.tensor(t))

    whole = [*prefix, PictureSegment(latents=noise[0].numpy(), t=t)]
    batch = batch_of(config, [[whole]], length=document_length(whole))
    hidden = model.hidden(batch, noise).flatten(0, 1)[batch.index_IT[0]]
    expected = model.velocity(model.latent_out(hidden)[None], noise, torch.tensor(t), clamp=0.0)
    torch.testing.assert_close(cached, expected, **TOLERANCE)


def generate(model, words, prompts, seeds):
    return generate_pictures(
        model, words, prompts, seeds=seeds, guidance_scale=3.0, num_inference_steps=5
    )


def test_a_picture_of_a_batch_equals_the_same_picture_alone():
    model, words = tiny_model(), tokenizer()
    prompts = ["a", "a red circle", "a ring left of a moon", "", "what color is the bar?", "yes"]
    seeds = [11, 12, 13, 14, 15, 11]
    together = generate(model, words, prompts, seeds)
    for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = generate(model, words, [prompt], [seed])
        torch.testing.assert_close(together[i], alone[0], **TOLERANCE)


def test_guidance_of_one_is_the_conditional_model():
    model, words = tiny_model(), tokenizer()
    prefix = [TextSegment(ids=[words.bos, *words.encode("a red circle"), words.boi])]
    session = Session(model, [prefix], new_tokens=MOE.latent_tokens, pad=words.pad)
    z = seeded_noise([3], tokens=MOE.latent_tokens, channels=MOE.latent_channels)
    times = flow.euler_times(5, model.alpha)
    for t, following in pairwise(times):
        z = z + (following - t) * session.denoise(z, t)
    guided = generate_pictures(
        model, words, ["a red circle"], seeds=[3], guidance_scale=1.0, num_inference_steps=5
    )
    torch.testing.assert_close(guided, z, **TOLERANCE)


def test_the_solver_makes_as_many_evaluations_as_asked_and_ends_at_one(monkeypatch):
    model, words = tiny_model(), tokenizer()
    times = []
    original = Session.denoise
    monkeypatch.setattr(
        Session, "denoise", lambda self, z, t: (times.append(float(t)), original(self, z, t))[1]
    )
    last = generate(model, words, ["a"], [1])
    assert len(times) == 5
    assert times[0] == 0.0
    # An x-prediction model's last step lands exactly on its last prediction of the clean picture.
    prefix = [TextSegment(ids=[words.bos, *words.encode("a"), words.boi])]
    session = Session(model, [prefix, unconditional(words)], new_tokens=MOE.latent_tokens, pad=0)
    z = seeded_noise([1], tokens=MOE.latent_tokens, channels=MOE.latent_channels)
    grid = flow.euler_times(5, model.alpha)
    for t, following in pairwise(grid):
        conditional, free = original(session, torch.cat((z, z)), t).chunk(2)
        velocity = free + 3.0 * (conditional - free)
        x_hat = z + (1 - t) * velocity
        z = z + (following - t) * velocity
    torch.testing.assert_close(last, x_hat, atol=1e-4, rtol=0)


def test_text_of_a_batch_equals_text_alone_greedy_and_sampled():
    model, words = tiny_model(), tokenizer()
    docs = [documents()[0], question_document(words, [picture(MOE, seed=8)], "yes")]
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.9)):

        def run(rows, seeds, sampling=sampling):
            return generate_text(
                Session(model, rows, new_tokens=12, pad=words.pad),
                words,
                seeds=seeds,
                max_new_tokens=[12] * len(rows),
                sampling=[sampling] * len(rows),
                finished=lambda row, ids: False,
            )

        together = run(docs, [21, 22])
        assert together == [run([doc], [seed])[0] for doc, seed in zip(docs, (21, 22), strict=True)]


def test_choices_of_a_batch_equal_choices_alone_and_follow_the_likelihood():
    model, words = tiny_model(), tokenizer()
    docs = [question_document(words, [picture(MOE, seed=s)], "what color?") for s in range(4)]
    choices = [("yes", "no"), ("a", "red", "moon"), ("circle",), ("10", "1", "100")]

    def choose(docs, choices):
        options = [choice_ids(words, texts) for texts in choices]
        return choose_text(Session(model, docs, new_tokens=9, pad=words.pad), options)

    together = choose(docs, choices)
    assert together == [
        choose([doc], [options])[0] for doc, options in zip(docs, choices, strict=True)
    ]
    session = Session(model, docs[:1], new_tokens=4, pad=words.pad)
    first = [words.encode(option)[0] for option in choices[0]]
    assert first[0] != first[1]
    assert together[0] == int(session.logits()[0, first].argmax())


def test_interleaved_generation_switches_on_boi_and_commits_the_clean_picture():
    model, words = tiny_model(), tokenizer()
    with torch.no_grad():  # a text head that always asks for a picture, until it sees one
        model.text_head.weight.zero_()
    prompt = [TextSegment(ids=[words.bos, *words.encode("a ring")])]

    class BeginPicture(Sampling):
        def next(self, logits_V, generator):
            calls.append(len(calls))
            return words.boi if len(calls) == 2 else (words.eos if len(calls) == 4 else 50)

    calls: list[int] = []
    (result,) = generate_interleaved(
        model,
        words,
        [prompt],
        seeds=[5],
        max_new_tokens=30,
        sampling=[BeginPicture()],
        guidance_scale=2.0,
        num_inference_steps=3,
    )
    assert [type(part) for part in result] == [TextSegment, PictureSegment, TextSegment]
    assert result[0].ids == [50, words.boi]
    assert result[2].ids == [words.eoi, 50]
    noise = torch.randn(
        1, MOE.latent_tokens, MOE.latent_channels, generator=torch.Generator().manual_seed(5)
    )
    session = Session(
        model,
        [[*prompt, TextSegment(ids=[50, words.boi])], unconditional(words)],
        new_tokens=MOE.latent_tokens,
        pad=0,
    )
    z = noise
    grid = flow.euler_times(3, model.alpha)
    for t, following in pairwise(grid):
        conditional, free = session.denoise(torch.cat((z, z)), t).chunk(2)
        z = z + (following - t) * (free + 2.0 * (conditional - free))
    torch.testing.assert_close(torch.from_numpy(result[1].latents), z[0], **TOLERANCE)
