"""The true entropy is known, a 5-gram model is far from it, and what is not language is refused."""

import math
from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_five_gram import nats_per_word

from unimm_eval.world import FACTS, NotInLanguage, rng_for, sample_document, score
from unimm_eval.world.language import MAKERS
from unimm_eval.world.pens import split_text


def _documents(split: str, count: int) -> list:
    rng = rng_for(split=split, purpose="language")
    return [sample_document(rng, split=split) for _ in range(count)]


def test_reading_a_document_back_gives_its_probability() -> None:
    for document in _documents("test", 4000):
        assert score(document.text) == pytest.approx(document.nats, abs=1e-9)


def test_probabilities_add_up_as_an_entropy_must() -> None:
    """E[1 / p] over draws counts the texts; cheaper and as telling: facts are equally likely."""
    facts = [d.nats for d in _documents("val", 2000) if d.text.startswith("remember")]
    sentences = 2 * len(FACTS)
    exact = -math.log(0.15) + sum(math.log(sentences - told) for told in range(6))
    assert facts == pytest.approx([exact] * len(facts))
    assert 0.11 < len(facts) / 2000 < 0.19


def test_documents_are_short_and_dense() -> None:
    documents = _documents("test", 3000)
    lengths = [len(split_text(d.text)) for d in documents]
    assert min(lengths) >= 40
    assert max(lengths) <= 120
    assert 0.7 <= sum(d.nats for d in documents) / sum(lengths) <= 1.3
    vocabulary = {word for d in documents for word in split_text(d.text)}
    assert 250 <= len(vocabulary) <= 350


@given(seed=st.integers(0, 2**20), data=st.data())
def test_a_changed_word_is_refused_or_scored_as_another_document(
    seed: int, data: st.DataObject
) -> None:
    document = sample_document(rng_for(split="test", purpose="edit", index=seed), split="test")
    words = document.text.split(" ")
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] = data.draw(st.sampled_from(["zebra", "red", "the", "anna.", "", "Anna", "two"]))
    text = " ".join(words)
    with suppress(NotInLanguage):
        assert text == document.text or score(text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello world.",
        "remember red is the color of blood.",
        "Once anna has four red moons at the mill. she is happy.",
        "remember  the color of blood is red.",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(NotInLanguage):
        score(text)


def test_an_ending_that_contradicts_its_story_is_refused() -> None:
    stories = [d.text for d in _documents("test", 200) if d.text.startswith("once")]
    for text in stories[:20]:
        told, end = text.split(" finally ")
        for color, other in (("red", "blue"), ("green", "white"), ("yellow", "purple")):
            if f" {color} " in end:
                with pytest.raises(NotInLanguage):
                    score(f"{told} finally {end.replace(f' {color} ', f' {other} ')}")
        with pytest.raises(NotInLanguage):
            score(f"{text} {end}")


def test_makers_are_one_to_one() -> None:
    assert len(set(MAKERS.values())) == len(MAKERS)


def test_a_five_gram_model_is_far_from_the_truth() -> None:
    train, test = _documents("train", 17_000), _documents("test", 1500)
    ids: dict[str, int] = {}
    coded, asked = (
        [[ids.setdefault(word, len(ids) + 1) for word in split_text(d.text)] for d in documents]
        for documents in (train, test)
    )
    assert sum(map(len, coded)) >= 1_000_000
    true = sum(d.nats for d in test) / sum(map(len, asked))
    entropies = [
        nats_per_word(train=coded, test=asked, vocabulary=len(ids), order=order)
        for order in (1, 2, 3, 5)
    ]
    assert entropies == sorted(entropies, reverse=True)
    assert math.exp(entropies[-1] - true) >= 1.45


def test_writing_is_fast_enough_to_train_on() -> None:
    start = process_time()
    _documents("train", 2000)
    assert process_time() - start < 1
