"""The client against a real socket: it answers, delays, drops, rate-limits and lies."""

import json
import time

import numpy as np
import pytest
from judge_server import MODEL, JudgeServer, digest, serving

from unimm_eval.api import IncompleteError, Picture, UserError, content_hash, encode_png
from unimm_eval.judges import Question, labelled_digits, verdicts
from unimm_eval.judges.openai import OpenAIJudge
from unimm_eval.judges.session import Patience
from unimm_eval.judges.settings import JudgeSettings

KEY = "sk-very-secret-0123456789"
QUICK = Patience(first_wait_s=0.001, longest_wait_s=0.004, timeout_s=1.0)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("UNIMM_EVAL_JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")


@pytest.fixture
def server():
    with serving(JudgeServer(key=KEY)) as state:
        yield state


def judge_of(server, *, patience=QUICK, **settings):
    return OpenAIJudge(server.spec, JudgeSettings(**settings), patience=patience)


def questions(count):
    return [Question(key=index, parts=(f"question {index}",)) for index in range(count)]


def read(text):
    return labelled_digits(text, ["Score"], largest=1)["Score"]


def verdicts_of(judge, asked, *, tries=3):
    return {v.key: v for v in verdicts(judge, asked, parse=read, tries=tries)}


def faulty(question, nth):
    """About three answers in ten are no answers, of every kind; the sixth always is."""
    kinds = ("429", "503", "500", "drop", "html", "empty", "other model")
    draw = digest(f"{question}/{nth}")
    if question.startswith("question") and nth < 5 and draw % 10 < 3:
        return "slow" if draw % 997 == 0 else kinds[draw // 10 % len(kinds)]
    return ""


def test_a_thousand_judgements_through_failures_equal_a_clean_run():
    asked = questions(1000)
    with serving(JudgeServer(key=KEY)) as clean:
        expected = verdicts_of(judge_of(clean), asked)
    with serving(JudgeServer(key=KEY, fault=faulty)) as broken:
        found = verdicts_of(judge_of(broken, concurrency=16), asked)
    assert len(found) == 1000
    assert found == expected
    assert {verdict.value for verdict in found.values()} == {0, 1}
    failed = sum(count for fault, count in broken.statuses.items() if fault != "200")
    assert failed > 300
    assert broken.statuses.keys() >= {"429", "503", "500", "drop", "html", "empty", "other model"}


def test_a_question_that_is_refused_is_asked_once_and_costs_no_other(server):
    refused = {"question 1": "400", "question 3": "refusal", "question 4": "413"}
    server.fault = lambda question, nth: refused.get(question, "")
    found = verdicts_of(judge_of(server), questions(6))
    assert [found[key].value is None for key in range(6)] == [False, True, False, True, True, False]
    assert not any(verdict.outage for verdict in found.values())
    assert "400" in found[1].reason
    assert "content_filter" in found[3].reason
    assert len(server.bodies) == 7  # the probe and six


def test_an_outage_is_neither_zero_nor_endless(server):
    server.fault = lambda question, nth: "503" if question.startswith("question") else ""
    patience = Patience(first_wait_s=0.001, longest_wait_s=0.002, timeout_s=0.2, tries=3)
    found = verdicts_of(judge_of(server, patience=patience, concurrency=2), questions(200))
    assert len(found) == 200
    assert all(verdict.outage and verdict.value is None for verdict in found.values())
    assert len(server.bodies) < 40  # not 600: after several failures in a row it gives up


def test_a_pause_of_an_hour_is_an_outage(server):
    server.fault = lambda question, nth: "429" if question.startswith("question") else ""
    server.retry_after = "3600"
    found = verdicts_of(judge_of(server), questions(3))
    assert all("3,600 s" in v.reason or "before" in v.reason for v in found.values())
    assert all(v.outage for v in found.values())


def test_the_time_that_retry_after_names_is_waited(server):
    server.fault = lambda question, nth: "429" if question.startswith("q") and nth == 0 else ""
    server.retry_after = "0.3"
    began = time.monotonic()
    assert verdicts_of(judge_of(server), questions(1))[0].value in (0, 1)
    assert time.monotonic() - began >= 0.3


def test_a_slow_answer_is_asked_for_again(server):
    server.fault = lambda question, nth: "slow" if question == "question 0" and nth == 0 else ""
    assert verdicts_of(judge_of(server), questions(1))[0].value in (0, 1)
    assert server.statuses["slow"] == 1


@pytest.mark.parametrize("fault", ["404", "402", "quota"])
def test_what_must_be_changed_is_one_error(server, fault):
    server.fault = lambda question, nth: fault if question == "question 5" else ""
    with pytest.raises(UserError) as caught:
        verdicts_of(judge_of(server), questions(50))
    assert caught.value.exit_code == 2
    assert KEY not in str(caught.value)


def test_a_wrong_key_is_told_before_anything_and_not_shown(server, monkeypatch):
    monkeypatch.setenv("UNIMM_EVAL_JUDGE_KEY", "sk-wrong-key-987")
    with pytest.raises(UserError, match="does not accept the key") as caught:
        judge_of(server).probe()
    assert "UNIMM_EVAL_JUDGE_KEY" in caught.value.fix
    assert "sk-wrong-key-987" not in str(caught.value)
    assert "***" in str(caught.value)
    assert server.bodies == []


def test_a_server_that_is_not_there_leaves_the_run_incomplete():
    with serving(JudgeServer()) as gone:
        pass
    with pytest.raises(IncompleteError, match="does not answer"):
        judge_of(gone, patience=Patience(tries=2, first_wait_s=0.001)).probe()


def test_the_identity_is_the_model_that_answers(server):
    alias = OpenAIJudge(f"openai:judge-latest@{server.url}/v1/", JudgeSettings(), patience=QUICK)
    assert alias.identity == MODEL
    assert server.bodies[0]["model"] == "judge-latest"
    assert server.paths == ["/v1/chat/completions"]


def test_what_is_sent_and_kept(server, tmp_path):
    array = np.full((4, 4, 3), 200, np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(array))
    asked = [
        Question(key="memory", system="be strict", parts=("x", Picture(array=array), "y")),
        Question(key="file", parts=(Picture(path=path),), max_new_tokens=7),
        Question(key="gone", parts=(Picture(path=tmp_path / "gone.png"),)),
    ]
    server.answer = lambda body: f"Score: 1 {KEY}"
    judge = judge_of(server, options={"chat_template_kwargs": {"enable_thinking": False}})
    found = {answer.key: answer for answer in judge.answers(asked)}
    bodies = {len(body["messages"]): body for body in server.bodies[1:]}
    assert bodies[2]["messages"][0] == {
        "role": "system", "content": [{"type": "text", "text": "be strict"}],
    }  # fmt: skip
    kinds = [part["type"] for part in bodies[2]["messages"][1]["content"]]
    assert kinds == ["text", "image_url", "text"]
    assert bodies[1]["max_tokens"] == 7
    assert bodies[1]["temperature"] == 0.0
    assert bodies[1]["chat_template_kwargs"] == {"enable_thinking": False}
    log = json.dumps([answer.log for answer in found.values()])
    assert log.count(f"sha256:{content_hash(encode_png(array))}") == 2
    assert "base64" not in log
    assert KEY not in log
    assert KEY in found["memory"].text  # what is read is what was said
    assert "gone.png" in found["gone"].error
    assert not found["gone"].outage


def test_prose_is_asked_for_again_and_then_unscored(server):
    answers = iter(["I think it is fine.", "Score: 2", "Score: 1"])
    server.answer = lambda body: "" if "yes" in str(body) else next(answers)
    assert verdicts_of(judge_of(server), questions(1))[0].value == 1
    server.answer = lambda body: "Score: 1. Great!"
    found = verdicts_of(judge_of(server), questions(1))[0]
    assert found.value is None
    assert not found.outage
    assert "the judge's answer" in found.reason
    assert len(found.asked) == 3


def test_limits_of_a_server_are_kept(server):
    from unimm_eval.judges.limits import Pace

    now = [0.0]
    pace = Pace(requests_per_minute=120, tokens_per_minute=60_000, clock=lambda: now[0])
    assert [pace.seconds_to_wait(10) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert pace.seconds_to_wait(3000) == 1.5
    assert pace.seconds_to_wait(10) == 4.5  # 3,000 tokens take three seconds
    pace.settle(reserved=3000, used=1000)
    assert pace.seconds_to_wait(10) == pytest.approx(3.0)
    now[0] = 60.0
    pace.pause(5.0)
    assert pace.seconds_to_wait(10) == 5.0
    judge = judge_of(server, requests_per_minute=60_000)
    assert len(verdicts_of(judge, questions(5))) == 5


def test_an_iterator_that_is_left_early_stops_asking(server):
    answers = judge_of(server, concurrency=2).answers(iter(questions(500)))
    next(answers)
    answers.close()
    assert len(server.bodies) < 50


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("openai:gpt-4o", "no URL"),
        ("openai:@http://127.0.0.1/v1", "no URL"),
        ("openai:m@https://user:password@host/v1", "holds a user or a password"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(spec, says):
    with pytest.raises(UserError, match=says) as caught:
        OpenAIJudge(spec, JudgeSettings())
    assert "password@" not in caught.value.what


def test_keys_come_from_the_environment_and_go_where_they_belong(server, monkeypatch):
    monkeypatch.delenv("UNIMM_EVAL_JUDGE_KEY")
    with pytest.raises(UserError, match="does not accept the key") as caught:
        judge_of(server).probe()  # OPENAI_API_KEY is set, and is not sent to another server
    assert "sk-not-for-you" not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="needs a key"):
        OpenAIJudge("openai:gpt-4o@https://api.openai.com/v1", JudgeSettings())
    monkeypatch.setenv("UNIMM_EVAL_JUDGE_KEY", "two words\n")
    with pytest.raises(UserError, match="holds spaces") as caught:
        judge_of(server)
    assert "two words" not in str(caught.value)
