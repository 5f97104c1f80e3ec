"""Prompts that share a beginning: encoded once, they are what each is alone."""

from dataclasses import replace

import pytest
import torch
from tiny import MOE, VARIANTS, batch_of, picture, tiny_model, tokenizer

from unimm_eval.model.generate import Prefixes, Prompt, Sampling, Session, generate_text
from unimm_eval.model.sequence import (
    TextSegment,
    chat_document,
    conversation,
    document_length,
    prompt_document,
    question_document,
)

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
WORDS = tokenizer()
QUESTIONS = ("what color is the bar?", "a ring left of a moon", "yes", "no", "a red circle?")


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def passes(monkeypatch):
    """How many documents went through the model at once, each time one was encoded."""
    counts = []
    original = Session.__init__

    def encode(self, model, documents, **settings):
        counts.append(len(documents))
        original(self, model, documents, **settings)

    monkeypatch.setattr(Session, "__init__", encode)
    return counts


def prompt(config, question, *seeds):
    """A question behind the pictures of `seeds`."""
    pictures = [picture(config, seed=seed) for seed in seeds]
    laid = conversation(WORDS, [[*pictures, question]])
    if not seeds:
        return Prompt(key=None, length=0, beginning=list, rest=laid[0])
    beginning = prompt_document([*laid[:-1], laid[-1][:1]])
    return Prompt(
        key=seeds,
        length=document_length(beginning),
        beginning=lambda: beginning,
        rest=laid[-1][1:],
    )


def document(one):
    return [*one.beginning(), TextSegment(ids=one.rest)]


def asked(config=MOE):
    """Two pictures with three questions each, a pair of pictures, one alone, and text alone."""
    shared = [prompt(config, q, seed) for q in QUESTIONS[:3] for seed in (1, 2)]
    pair = [prompt(config, q, 1, 3) for q in QUESTIONS[2:4]]
    return [*shared[:4], prompt(config, "yes", 4), *pair, prompt(config, "a moon"), *shared[4:]]


def write(session, rows):
    return generate_text(
        session,
        WORDS,
        seeds=[40 + row for row in rows],
        max_new_tokens=[12] * len(rows),
        sampling=[Sampling(temperature=row % 2, top_p=0.9) for row in rows],
        finished=lambda row, ids: False,
    )


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_shared_beginning_changes_nothing_but_how_often_it_is_encoded(config, passes):
    model = tiny_model(config)
    prompts = asked(config)
    shared = Prefixes(model, pad=WORDS.pad, least_saved=0).session(
        prompts, new_tokens=[12] * len(prompts)
    )
    assert passes == [1, 1, 1, 2]  # three beginnings that are shared, two prompts that are whole
    whole = Session(model, [document(one) for one in prompts], new_tokens=12, pad=WORDS.pad)
    torch.testing.assert_close(shared.last_RD, whole.last_RD, **TOLERANCE)
    assert shared.cache.lengths_B.tolist() == whole.cache.lengths_B.tolist()
    rows = range(len(prompts))
    assert write(shared, rows) == write(whole, rows)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_answers_do_not_depend_on_the_batch(model, size):
    prompts = [prompt(MOE, f"{q} {x}", seed) for seed in (1, 2) for x in "ab" for q in QUESTIONS]
    alone = Session(model, [document(one) for one in prompts], new_tokens=12, pad=WORDS.pad)
    prefixes = Prefixes(model, pad=WORDS.pad, least_saved=0)
    states, texts = [], []
    for start in range(0, len(prompts), size):
        rows = range(start, min(start + size, len(prompts)))
        session = prefixes.session([prompts[row] for row in rows], new_tokens=[12] * len(rows))
        states.append(session.last_RD)
        texts += write(session, rows)
    torch.testing.assert_close(torch.cat(states), alone.last_RD, **TOLERANCE)
    assert texts == write(alone, range(len(prompts)))


@pytest.mark.parametrize(("least_saved", "encoded"), [(7, [1, 2]), (8, [4]), (14, [4])])
def test_a_beginning_is_encoded_by_itself_where_that_saves_enough(
    model, passes, least_saved, encoded
):
    prompts = [
        prompt(MOE, question, seed)
        for question, seed in zip(QUESTIONS[:4], (1, 1, 2, 3), strict=True)
    ]
    assert prompts[0].length == 3 + MOE.latent_tokens == 7
    prefixes = Prefixes(model, pad=WORDS.pad, least_saved=least_saved)
    prefixes.session(prompts, new_tokens=[4] * 4)
    assert passes == encoded
    prefixes.session(prompts[:1], new_tokens=[4])
    assert len(passes) == len(encoded) + (least_saved > 7)


def test_what_was_kept_gives_the_same_bits_as_what_was_not(model, passes):
    prefixes = Prefixes(model, pad=WORDS.pad, least_saved=0)
    looks = []

    def counted(one):
        return replace(one, beginning=lambda: (looks.append(one.key), one.beginning())[1])

    for batch in (QUESTIONS[:2], QUESTIONS[2:4], QUESTIONS[4:]):
        prompts = [counted(prompt(MOE, question, 1)) for question in batch]
        session = prefixes.session(prompts, new_tokens=[5] * len(prompts))
        fresh = Prefixes(model, pad=WORDS.pad, least_saved=0).session(
            [prompt(MOE, question, 1) for question in batch], new_tokens=[5] * len(batch)
        )
        assert torch.equal(session.last_RD, fresh.last_RD)
        assert torch.equal(session.cache.keys, fresh.cache.keys)
    assert looks == [(1,)]
    assert passes == [1] * 4  # ours once, the fresh ones each time


def test_only_so_many_bytes_are_kept_and_the_latest_of_them(model):
    begun = Session(model, [prompt(MOE, "", 1).beginning()], new_tokens=0, pad=WORDS.pad)
    prefixes = Prefixes(model, pad=WORDS.pad, kept_bytes=2 * begun.cache.nbytes, least_saved=0)
    looks = []
    for seed in (1, 2, 1, 3, 1, 2):
        one = prompt(MOE, "yes", seed)
        noted = replace(one, beginning=lambda one=one: (looks.append(one.key), one.beginning())[1])
        prefixes.session([noted], new_tokens=[3])
    assert looks == [(1,), (2,), (3,), (2,)]


def test_a_prompt_that_does_not_fit_is_refused(model):
    prompts = [prompt(MOE, question, 1) for question in QUESTIONS]
    room = [MOE.max_length - document_length(document(one)) for one in prompts]
    Prefixes(model, pad=WORDS.pad, least_saved=0).session(prompts, new_tokens=room)
    room[2] += 1
    with pytest.raises(ValueError, match="max_length"):
        Prefixes(model, pad=WORDS.pad, least_saved=0).session(prompts, new_tokens=room)


# --- sessions


def test_continuations_of_one_context_are_scored_in_one_pass(model):
    """What multiple choice needs: the context once, and a state for each token behind it."""
    context = document(prompt(MOE, "a ring?", 5))
    options = [WORDS.encode(text) for text in ("a red circle", "no", "a moon left of the bar")]
    begun = Session(model, [context], new_tokens=0, pad=WORDS.pad)
    fork = begun.select([0] * len(options), new_tokens=max(map(len, options)))
    hidden = fork.append(options)
    for row, ids in enumerate(options):
        whole = [*context, TextSegment(ids=ids)]
        batch = batch_of(MOE, [[whole]], length=document_length(whole))
        expected = model.hidden(batch, batch.latents_ITC)[0, -len(ids) :]
        torch.testing.assert_close(hidden[row, : len(ids)], expected, **TOLERANCE)


def test_rows_of_several_sessions_go_on_together(model):
    one = Session(model, [document(p) for p in asked()[:2]], new_tokens=0, pad=WORDS.pad)
    other = Session(model, [document(asked()[7])], new_tokens=4, pad=WORDS.pad)
    picked = [(other, 0), (one, 1), (other, 0), (one, 0)]
    session = Session.gather(picked, new_tokens=[9, 3, 2, 3])
    texts = [WORDS.encode("a red moon"), WORDS.encode("no"), [], WORDS.encode("yes")]
    session.append(texts)
    for row, ((source, place), ids) in enumerate(zip(picked, texts, strict=True)):
        alone = source.select([place], new_tokens=9)
        alone.append([ids])
        torch.testing.assert_close(session.last_RD[row], alone.last_RD[0], **TOLERANCE)


def test_a_text_without_room_is_refused_and_leaves_the_session_as_it_was(model):
    short, long = (document(prompt(MOE, question)) for question in ("yes", QUESTIONS[0]))
    session = Session(model, [short, long], new_tokens=2, pad=WORDS.pad)
    session.append([[], WORDS.encode("a red circle")[:2]])
    assert int(session.cache.lengths_B[1]) == session.cache.capacity
    before = [session.cache.keys.clone(), session.cache.lengths_B.clone(), session.last_RD.clone()]
    pictures = torch.zeros(1, MOE.latent_tokens, MOE.latent_channels)
    for refused in (
        lambda: session.append([[], WORDS.encode("a")]),
        lambda: session.commit(pictures, [1]),
        lambda: session.denoise(pictures.expand(2, -1, -1), torch.tensor(0.5)),
    ):
        with pytest.raises(ValueError, match=f"capacity of {session.cache.capacity}"):
            refused()
    after = [session.cache.keys, session.cache.lengths_B, session.last_RD]
    assert all(map(torch.equal, before, after))


def test_what_stands_in_a_full_row_stays_while_others_grow(model):
    short, long = (document(prompt(MOE, question)) for question in ("yes", QUESTIONS[0]))
    session = Session(model, [short, long], new_tokens=MOE.latent_tokens + 2, pad=WORDS.pad)
    room = session.cache.capacity - int(session.cache.lengths_B[1])
    session.append([[], WORDS.encode("a ring left of a moon")[:room]])
    assert int(session.cache.lengths_B[1]) == session.cache.capacity
    keys = session.cache.keys[:, 1, :, : session.cache.capacity].clone()
    session.append([WORDS.encode("no")[:1], []])
    session.commit(torch.ones(1, MOE.latent_tokens, MOE.latent_channels), [0])
    assert torch.equal(session.cache.keys[:, 1, :, : session.cache.capacity], keys)


# --- the template


def test_the_template_begins_with_pictures_and_turns_follow():
    one, two = object(), object()  # pictures, in whatever form
    bos, boi, eoi, user, assistant, eot = (
        WORDS.bos, WORDS.boi, WORDS.eoi, WORDS.user, WORDS.assistant, WORDS.eot
    )  # fmt: skip
    a, b = WORDS.encode("a ring"), WORDS.encode("yes")
    assert conversation(WORDS, [["a ", "ring"]]) == [[bos, user, *a, assistant]]
    first = [[bos, boi], one, [eoi, user, *a, assistant]]
    assert conversation(WORDS, [[one, "a ring"]]) == first
    assert conversation(WORDS, [["a ", one, "ring"]]) == first
    assert conversation(WORDS, [[one, two, "a ring"]]) == [
        [bos, boi], one, [eoi, boi], two, [eoi, user, *a, assistant]
    ]  # fmt: skip
    assert conversation(WORDS, [["a ring", one, "yes", two]]) == [
        [bos, user, *a, boi], one, [eoi, *b, boi], two, [eoi, assistant]
    ]  # fmt: skip
    assert conversation(WORDS, [[one, "a ring"], ["yes", two]], ["yes"]) == [
        [bos, boi], one, [eoi, user, *a, assistant, *b, eot, user, *b, boi], two, [eoi, assistant]
    ]  # fmt: skip


def test_a_conversation_is_asked_as_it_was_trained_on():
    shown = picture(MOE, seed=1)
    turns = [("a ring?", "yes"), ("what color is the bar?", "a red one"), ("no?", "no")]

    def ids(parts):
        return [t for part in parts if isinstance(part, TextSegment) for t in part.ids]

    trained = ids(chat_document(WORDS, shown, turns))
    questions = [[shown, turns[0][0]], *([question] for question, _ in turns[1:])]
    laid = conversation(WORDS, questions, [answer for _, answer in turns[:-1]])
    answer = [*WORDS.encode(turns[-1][1]), WORDS.eot]
    assert ids(prompt_document(laid)) + answer == trained
    first = ids(question_document(WORDS, [shown], turns[0][0]))
    assert first == trained[: len(first)]
