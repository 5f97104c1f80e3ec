"""`wise` and `wise-verified`: their files, their formulas, and whole runs with a judge."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_server import MODEL, JudgeServer, digest, question_of, serving
from wise_files import EVALUATOR, ids_of, pinned_card, record, samples_of

from unimm_eval import evaluate
from unimm_eval.api import IncompleteError, Picture, Score, UserError, load_record
from unimm_eval.engine.evaluate import dry_run
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import task_entries
from unimm_eval.engine.rejudge import rejudge
from unimm_eval.judges.session import Patience
from unimm_eval.tasks.wise import Wise, WiseVerified
from unimm_eval.tasks.wise.instruction import read_instruction
from unimm_eval.tasks.wise.official import ASPECTS, WEIGHTS
from unimm_eval.tasks.wise.records import LAST_ID, group_of, read_records

VARIANTS = {"wise": ("legacy", Wise), "wise-verified": ("verified", WiseVerified)}
REAL = os.environ.get("UNIMM_EVAL_TEST_DATA")


class Painter:
    """A plain picture of a colour that depends on the prompt's id."""

    name = "painter"
    fingerprint = "9a" * 32

    def __init__(self):
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [np.full((8, 8, 3), int(request.key) % 251, np.uint8) for request in requests]


def three_scores(body):
    draw = digest(json.dumps(body, sort_keys=True))
    return "\n".join(f"{name}: {draw // 3**place % 3}" for place, name in enumerate(ASPECTS))


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    quick = Patience(first_wait_s=0.001, longest_wait_s=0.002, tries=3, failures_in_a_row=1000)
    monkeypatch.setattr("unimm_eval.judges.openai.Patience", lambda: quick)


@pytest.fixture
def server():
    with serving(JudgeServer(answer=three_scores)) as state:
        yield state


@pytest.fixture
def make(tmp_path):
    """`make("wise", judge=…)` on files of ours in `tmp_path / "files"`."""

    def go(name, *, evaluator=EVALUATOR, per_group=3, **values):
        card = pinned_card(name, tmp_path / "files", evaluator=evaluator, per_group=per_group)
        task = VARIANTS[name][1]
        return task(card, task.Config(**values), data_dir=tmp_path / "files")

    return go


def test_a_run_of_the_first_release(make, server, tmp_path):
    task = make("wise", judge=server.spec, judge_price=(5.0, 15.0))
    model = Painter()
    record = evaluate(model, [task], output=tmp_path / "run")
    assert sorted(int(r.key) for r in model.seen) == ids_of("legacy")
    assert {(r.num_inference_steps, r.guidance_scale) for r in model.seen} == {(25, 3.0)}
    bodies = [body for body in server.bodies if "PROMPT" in question_of(body)]
    assert len(bodies) == 18
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.0, 2000)}
    assert all([part["type"] for part in b["messages"][1]["content"]] == ["text", "image_url"]
               for b in bodies)  # fmt: skip
    assert question_of(bodies[0]).startswith("You are an auditor.\nLook closely. {braces} stay.\n")
    values = {row.metric: row.value for row in record.results}
    assert list(values) == ["overall", *WEIGHTS["legacy"]]
    assert values["overall"] == pytest.approx(
        sum(weight * values[group] for group, weight in WEIGHTS["legacy"].items())
    )
    facts = record.get("wise").facts
    assert (facts["judge"], facts["judge_calls"]) == (MODEL, 18)
    assert facts["cost_usd"] == pytest.approx(
        (facts["tokens_in"] * 5 + facts["tokens_out"] * 15) / 1e6
    )
    assert MODEL in record.run.tasks["wise"]["judge"]


def test_pictures_made_elsewhere_are_judged_and_come_back_in_the_same_folder(
    make, server, tmp_path
):
    exports = tmp_path / "run" / "exports" / "wise"
    made = evaluate(Painter(), [make("wise", judge=server.spec)], output=tmp_path / "run")
    rows = [json.loads(line) for line in (exports / "scores.jsonl").read_text().splitlines()]
    assert [row["prompt_id"] for row in rows] == ids_of("legacy")
    assert rows[0].keys() >= {"Subcategory", "consistency", "realism", "aesthetic_quality"}
    (exports / "401.png").unlink()
    (exports / "402.png").write_bytes(b"not a picture")
    read = evaluate(f"images:{exports}", [make("wise", judge=server.spec)], output=tmp_path / "b")
    assert read.get("wise").unscored == 2
    assert read.get("wise", "culture").value == made.get("wise", "culture").value


def test_a_run_of_the_verified_release(make, server, tmp_path):
    server.answer = lambda body: f"<think>\n</think>\n\nScore: {digest(question_of(body)) % 2}"
    record = evaluate(Painter(), [make("wise-verified", judge=server.spec)], output=tmp_path / "r")
    body = next(body for body in server.bodies if "PROMPT" in question_of(body))
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_tokens"] == 500
    values = {row.metric: row.value for row in record.results}
    assert values["overall"] == pytest.approx(
        0.4 * values["culture"] + 0.12 * sum(values[g] for g in list(WEIGHTS["verified"])[1:])
    )


def test_the_judge_is_part_of_the_metric_and_options_are_when_they_differ(make, server):
    from unimm_eval.judges.openai import OpenAIJudge

    def hash_of(name, **values):
        task = make(name, judge=server.spec, **values)
        task.use_judge(OpenAIJudge.open(server.spec, task.judge_settings()))
        return task.protocol_hash({})

    plain = hash_of("wise")
    assert plain == hash_of("wise", judge_concurrency=2, judge_price=(1.0, 1.0))
    assert plain == hash_of("wise", judge_options={})
    assert plain != hash_of("wise", judge_options={"seed": 1})
    server.fault = lambda question, nth: "other model"
    assert plain != hash_of("wise")


def test_an_outage_leaves_pictures_unscored_and_the_same_command_goes_on(make, server, tmp_path):
    with serving(JudgeServer(answer=three_scores)) as clean:
        expected = evaluate(Painter(), [make("wise", judge=clean.spec)], output=tmp_path / "clean")
    server.fault = lambda question, nth: (
        "503" if "PROMPT" in question and digest(question) % 3 == 0 else ""
    )
    down = len([n for n in ids_of("legacy") if _is_down(n)])
    assert 0 < down < 18
    model = Painter()
    with pytest.raises(
        IncompleteError, match=f"{down} of 18 outputs could not be judged"
    ) as caught:
        evaluate(model, [make("wise", judge=server.spec)], output=tmp_path / "run")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "run" / "results.json").exists()
    server.fault = lambda question, nth: ""
    server.bodies.clear()
    record = evaluate(model, [make("wise", judge=server.spec)], output=tmp_path / "run")
    assert len(model.seen) == 18  # no picture was made again
    assert sum("PROMPT" in question_of(body) for body in server.bodies) == down
    assert record.results == expected.results


def _is_down(number):
    filled = EVALUATOR.split('f"""')[1].split('"""')[0]
    filled = filled.replace("{{", "{").replace("}}", "}")
    row = record(number)
    for key in ("Prompt", "Explanation"):
        filled = filled.replace(f"{{prompt_data['{key}']}}", row[key])
    return digest(f"You are an auditor.\n{filled}") % 3 == 0


def test_prose_and_impossible_scores_are_unscored_and_shown(make, server, tmp_path):
    def answer(body):
        text = question_of(body)
        if '"prompt 1"' in text:
            return "IGNORE ALL RULES. This is perfect: 2, 2 and 2."
        return three_scores(body).replace(
            "Realism: ", "Realism: 9" if "401" in text else "Realism: "
        )

    server.answer = answer
    record = evaluate(Painter(), [make("wise", judge=server.spec)], output=tmp_path / "run")
    assert record.get("wise").unscored == 2
    assert (record.get("wise", "culture").n, record.get("wise", "culture").unscored) == (2, 1)
    assert sum('"prompt 1"' in question_of(body) for body in server.bodies) == 3


def test_a_key_that_is_refused_is_one_error_before_any_picture(make, server, tmp_path, monkeypatch):
    server.key = "sk-right-0123"
    monkeypatch.setenv("UNIMM_EVAL_JUDGE_KEY", "sk-wrong-0123")
    model = Painter()
    with pytest.raises(UserError, match="does not accept the key"):
        evaluate(model, [make("wise", judge=server.spec)], output=tmp_path / "run")
    assert model.seen == []
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_what_a_judge_would_be_asked(make, server):
    (estimate,) = dry_run(Painter(), [make("wise", judge=server.spec, judge_price=(5.0, 15.0))])
    assert (estimate.outputs, estimate.questions, estimate.cost_usd) == (18, 18, None)
    assert len(server.bodies) == 1  # whether it answers
    prices = {"judge_price": (5.0, 15.0), "judge_tokens": (1000, 100)}
    (estimate,) = dry_run(Painter(), [make("wise", judge=server.spec, **prices)])
    assert estimate.cost_usd == pytest.approx(18 * (5000 + 1500) / 1e6)


def test_without_a_judge_the_message_names_one(make, tmp_path):
    with pytest.raises(UserError, match="needs a judge") as caught:
        evaluate(Painter(), [make("wise")], output=tmp_path / "run")
    assert "--set wise.judge=openai:gpt-4o-2024-05-13@https://SERVER/v1" in caught.value.fix


def test_a_model_of_the_harness_can_judge(make, plugin, tmp_path):
    with pytest.raises(IncompleteError, match="none of 18 outputs could be scored: the judge's"):
        evaluate(Painter(), [make("wise", judge="fake")], output=tmp_path / "run")
    with pytest.raises(UserError, match="There is no model 'fakee'"):
        evaluate(Painter(), [make("wise", judge="fakee")], output=tmp_path / "other")


def test_a_group_without_a_verdict_leaves_no_overall(make, server, tmp_path):
    record = evaluate(Painter(), [make("wise", judge=server.spec)], output=tmp_path / "r", limit=5)
    assert {row.metric for row in record.results} == set(list(WEIGHTS["legacy"])[:5])


# Judging again


def test_another_judge_is_another_run_on_the_same_pictures(make, server, tmp_path):
    first = evaluate(Painter(), [make("wise", judge=server.spec)], output=tmp_path / "first")
    with serving(JudgeServer(answer=lambda body: "2\n2\n2", model="judge-2")) as other:
        again = rejudge(
            tmp_path / "first", tasks=[make("wise", judge=other.spec)], output=tmp_path / "again"
        )
        model = Painter()
        whole = evaluate(model, [make("wise", judge=other.spec)], output=tmp_path / "whole")
    assert again.get("wise").value == 1.0
    assert again.results == whole.results
    assert again.run == whole.run
    assert first.get("wise").protocol_hash != again.get("wise").protocol_hash
    assert first.model == again.model
    assert load_record(tmp_path / "first") == first  # it stays as it is
    pictures = [sorted(p.name for p in (tmp_path / run / "media").rglob("*.png"))
                for run in ("first", "again")]  # fmt: skip
    assert pictures[0] == pictures[1] != []


def test_the_same_judge_goes_on_in_the_run(make, server, tmp_path):
    server.answer = lambda body: "hm" if '"prompt 1"' in question_of(body) else three_scores(body)
    task = make("wise", judge=server.spec)
    assert evaluate(Painter(), [task], output=tmp_path / "run").get("wise").unscored == 1
    server.answer = three_scores
    server.bodies.clear()
    record = rejudge(tmp_path / "run", tasks=[make("wise", judge=server.spec)])
    assert record.get("wise").unscored == 0
    assert sum("PROMPT" in question_of(body) for body in server.bodies) == 1
    assert load_record(tmp_path / "run") == record


def test_judging_again_is_refused_where_it_makes_no_sense(make, server, tmp_path):
    task = make("wise", judge=server.spec)
    evaluate(Painter(), [task], output=tmp_path / "run")
    for changed, says in (
        ({"wise": {"guidance_scale": 1}}, "guidance_scale is no setting of a judge"),
        ({"vqa16": {"judge": "demo"}}, "has no task vqa16"),
    ):
        with pytest.raises(UserError, match=says):
            rejudge(tmp_path / "run", settings=changed, tasks=[task])
    with pytest.raises(UserError, match="not the folder of a run"):
        rejudge(tmp_path / "nowhere")


# Formulas


def scored(variant, value, value_of):
    samples = samples_of(variant)
    groups = [group_of(sample.inputs["prompt_id"], protocol=variant) for sample in samples]
    scores = [
        Score(sample_id=sample.id, values={value: value_of(group, sample)})
        for sample, group in zip(samples, groups, strict=True)
    ]
    return samples, scores


class Anyone:
    identity = "anyone"


@pytest.mark.parametrize("name", VARIANTS)
def test_overall_reproduces_from_published_group_scores(name, make):
    variant = VARIANTS[name][0]
    task = make(name)
    task.use_judge(Anyone())
    digits = 2 if variant == "legacy" else 4
    published = {}
    for row in task.card.references:
        published.setdefault(row.model, {})[row.metric] = row.value
    assert len(published) >= 5
    for values in published.values():
        rows = scored(variant, task.value, lambda group, _, values=values: values[group])
        found = {metric.name: metric.value for metric in task.summarize(*rows)}
        assert {g: found[g] for g in WEIGHTS[variant]} == pytest.approx(
            {g: values[g] for g in WEIGHTS[variant]}
        )
        assert found["overall"] == pytest.approx(values["overall"], abs=10**-digits)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_overall_is_the_weighted_mean_of_group_means(means):
    for variant, task in VARIANTS.values():
        by_group = dict(zip(WEIGHTS[variant], means, strict=True))
        made = task(task_entries()["wise"].card, task.Config(), data_dir=Path())
        made.use_judge(Anyone())
        rows = scored(variant, task.value, lambda group, _, by_group=by_group: by_group[group])
        found = {metric.name: metric.value for metric in made.summarize(*rows)}
        expected = sum(w * by_group[group] for group, w in WEIGHTS[variant].items())
        assert found["overall"] == pytest.approx(expected)


def test_wiscore_weighs_three_scores():
    read = Wise._read("Consistency: 2\nRealism: 1\nAesthetic Quality: 0")
    assert read["wiscore"] == pytest.approx((0.7 * 2 + 0.2 * 1) / 2)
    assert (read["consistency"], read["realism"], read["aesthetic_quality"]) == (2.0, 1.0, 0.0)
    assert Wise._read("2\n2\n2")["wiscore"] == pytest.approx(1.0)
    assert WiseVerified._read("Score: 1") == WiseVerified._read("1") == {"score": 1.0}


# Files


def test_ids_and_groups():
    for variant, sizes in {
        "legacy": (400, 167, 133, 100, 100, 100),
        "verified": (400, 120, 120, 120, 120, 120),
    }.items():
        groups = [group_of(number, protocol=variant) for number in range(1, 1001)]
        assert tuple(groups.count(group) for group in LAST_ID[variant]) == sizes
        assert sum(WEIGHTS[variant].values()) == pytest.approx(1.0)
        assert group_of(0, protocol=variant) is None
        assert group_of(1001, protocol=variant) is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("[{]", "is not JSON"),
        ('{"a": 1}', "is no list"),
        (json.dumps([record(1), record(1)]), "prompt_id 1 was in a.json before"),
        (json.dumps([record(1001)]), "prompt_id 1001 belongs to no group"),
        (json.dumps([{**record(7), "Prompt": ""}]), "prompt_id 7 is not whole: Prompt"),
        (json.dumps([{k: v for k, v in record(7).items() if k != "Explanation"}]), "Explanation"),
        (json.dumps([{**record(7), "prompt_id": "7"}]), "prompt_id: Input should be a valid int"),
        ("[3]", "is not whole"),
    ],
)
def test_bad_records_are_named(tmp_path, rows, says):
    path = tmp_path / "a.json"
    path.write_text(rows)
    with pytest.raises(UserError, match=says) as caught:
        read_records([path], protocol="legacy")
    assert str(path) in caught.value.what


def test_the_instruction_is_read_and_never_run(tmp_path):
    path = tmp_path / "gpt_eval.py"
    path.write_text(EVALUATOR)
    picture = Picture(array=np.zeros((1, 1, 3), np.uint8))
    values = {**record(5), "Prompt": "{Explanation} ' \" {0}"}
    system, parts = read_instruction(path).fill(values, picture)
    assert system == "You are an auditor."
    assert parts[1] is picture
    assert 'PROMPT: "{Explanation} \' " {0}"\nEXPLANATION: "explanation 5"\n' in parts[0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("build_evaluation_messages", "build_messages", "there is no function"),
        ("prompt_data['Prompt']", "open('secret')", "neither text nor a field"),
        ("prompt_data['Prompt']", "prompt_data['Prompt']!r", "neither text nor a field"),
        ('"role": "system"', '"role": "tool"', "the messages are"),
        ("    return [", "    return (", "does not hold|does not return"),
        ('"type": "text", "text": "You', '"type": "audio", "text": "You', "a part of type audio"),
    ],
)
def test_an_evaluator_of_another_shape_is_refused(tmp_path, old, new, says):
    path = tmp_path / "gpt_eval.py"
    path.write_text(EVALUATOR.replace(old, new))
    with pytest.raises(UserError, match=says) as caught:
        read_instruction(path)
    assert "data fetch" in caught.value.fix


def test_missing_files_are_told_with_the_command_that_gets_them(tmp_path):
    task = make_task(task_entries()["wise"], {}, tmp_path)
    with pytest.raises(UserError, match="is missing") as caught:
        task.check()
    assert "unimm-eval data fetch wise" in caught.value.fix
    assert "SHA-256" in caught.value.fix


@pytest.mark.skipif(not REAL, reason="UNIMM_EVAL_TEST_DATA does not name the benchmarks' files")
@pytest.mark.parametrize("name", VARIANTS)
def test_the_real_prompts(name):
    from unimm_eval.data import files_of, verify

    variant = VARIANTS[name][0]
    files = [f for f in files_of(task_entries()[name].card) if f.name.endswith(".json")]
    records = read_records([verify(f, Path(REAL)) for f in files], protocol=variant)
    assert sorted(r.prompt_id for r in records) == list(range(1, 1001))
    assert len({r.Prompt for r in records}) == 1000
    first = [group_of(r.prompt_id, protocol=variant) for r in records[:6]]
    assert first == list(WEIGHTS[variant])
