"""What stands around questions and answers, with a tokenizer of ours and with LLaMA-3's."""

import pytest
from test_tokenizer import KINDS

from unimm_eval.model.chat import chat_template
from unimm_eval.model.sequence import TextSegment, chat_document, conversation

TURNS = [("what is it?", "a ring"), ("and its color?", "red")]


@pytest.fixture(params=list(KINDS))
def words(request):
    return KINDS[request.param]


def ids_and_trained(document):
    parts = [part for part in document if isinstance(part, TextSegment)]
    return [i for part in parts for i in part.ids], [
        i for part in parts for i in part.ids if part.loss
    ]


def test_answers_and_the_tokens_that_end_them_are_all_that_is_trained(words):
    _, trained = ids_and_trained(chat_document(words, None, TURNS))
    expected = []
    for _, answer in TURNS:
        expected += [*words.encode(answer), words.eot]
    assert trained == expected


def test_what_is_trained_on_is_what_is_asked_later(words):
    ids, _ = ids_and_trained(chat_document(words, None, TURNS))
    (asked,) = conversation(words, [[TURNS[0][0]], [TURNS[1][0]]], [TURNS[0][1]])
    assert ids == [*asked, *words.encode(TURNS[1][1]), words.eot]


def test_a_turn_has_as_many_tokens_as_the_template_says(words):
    ids, _ = ids_and_trained(chat_document(words, None, TURNS))
    said = sum(len(words.encode(text)) for turn in TURNS for text in turn)
    assert len(ids) == 1 + said + len(TURNS) * chat_template(words).tokens_a_turn


def test_llama3s_headers_name_the_role_and_the_picture_is_in_the_users_turn():
    words = KINDS["LLaMA-3's"]
    laid = conversation(words, [["what is it?", object()]])
    before, _, behind = laid
    user, assistant = words.encode("user"), words.encode("assistant")
    assert before == [words.bos, words.user, *user, words.assistant, words.boi]
    question = words.encode("what is it?")
    opened = [words.user, *assistant, words.assistant]
    assert behind == [words.eoi, *question, words.eot, *opened]


def test_ours_shows_the_picture_before_the_turn():
    words = KINDS["ours"]
    before, _, behind = conversation(words, [["what is it?", object()]])
    assert before == [words.bos, words.boi]
    assert behind == [words.eoi, words.user, *words.encode("what is it?"), words.assistant]
