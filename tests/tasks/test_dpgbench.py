"""`dpgbench`: whole runs with a judge, grids in and out, both protocols, what is left unscored."""

import json

import numpy as np
import pytest
from dpgbench_files import PROMPTS, QUESTIONS, pinned_card, rows_of
from judge_server import MODEL, JudgeServer, digest, question_of, serving
from PIL import Image

from unimm_eval import evaluate
from unimm_eval.api import IncompleteError, Picture, Score, UserError
from unimm_eval.judges import ModelJudge, yes_or_no
from unimm_eval.judges.session import Patience
from unimm_eval.tasks.dpgbench.aggregate import BROAD, DETAILED
from unimm_eval.tasks.dpgbench.grids import grid_of
from unimm_eval.tasks.dpgbench.official import DPGBench

SIDE = 6
NO_HAT = {"partiprompts7": 1 / 4, "0": 1.0, "partiprompts3": 1.0}
"""Scores when only "Is there a hat?" is answered no: two other questions depend on it."""


class Painter:
    """A plain picture of a colour of its prompt and repeat."""

    name = "painter"
    fingerprint = "9a" * 32

    def __init__(self):
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [plain(request.key, request.repeat) for request in requests]


def plain(key, repeat):
    return np.full((SIDE, SIDE, 3), (digest(key) % 200, 60 * repeat, 9), np.uint8)


def asks_about_a_hat(body):
    return "hat?" in question_of(body) and "there" in question_of(body)


def no_hat(body):
    return "no" if asks_about_a_hat(body) else "Yes."


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    quick = Patience(first_wait_s=0.001, longest_wait_s=0.002, tries=3, failures_in_a_row=1000)
    monkeypatch.setattr("unimm_eval.judges.openai.Patience", lambda: quick)


@pytest.fixture
def server():
    with serving(JudgeServer(answer=no_hat)) as state:
        yield state


@pytest.fixture
def make(tmp_path, server):
    """`make(protocol=…)` on files of ours in `tmp_path / "files"`."""

    def go(*, rows=None, prompts=PROMPTS, **values):
        card = pinned_card(tmp_path / "files", rows=rows, prompts=prompts)
        config = DPGBench.Config(**{"judge": server.spec, **values})
        return DPGBench(card, config, data_dir=tmp_path / "files")

    return go


def values_of(record):
    return {row.metric: row.value for row in record.results}


def test_a_run(make, server, tmp_path):
    model = Painter()
    record = evaluate(model, [make()], output=tmp_path / "run")
    assert sorted((r.key, r.repeat) for r in model.seen) == sorted(
        (key, repeat) for key in PROMPTS for repeat in range(4)
    )
    bodies = [body for body in server.bodies if "one word, yes or no" in question_of(body)]
    assert len(bodies) == 4 * sum(map(make().questions_about, make().samples()))
    assert len(bodies) == 4 * sum(map(len, QUESTIONS.values()))
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.0, 64)}
    values = values_of(record)
    assert values["overall"] == pytest.approx(sum(NO_HAT.values()) / 3)
    assert (values["entity"], values["entity - whole"]) == (3 / 4, 3 / 4)  # before zeroing
    assert (values["attribute"], values["relation"], values["global"]) == (1.0, 1.0, 1.0)
    assert list(values) == [n for n in ("overall", *BROAD, *DETAILED) if n in values]
    overall = record.get("dpgbench")
    assert (overall.n, overall.unscored, overall.facts["clusters"]) == (12, 0, 3)
    assert overall.facts["judge"] == MODEL
    assert overall.facts["judge_calls"] == len(bodies)
    assert overall.stderr > 0
    assert MODEL in record.run.tasks["dpgbench"]["judge"]


def test_the_released_code_loses_the_prompt_of_the_first_row(make, tmp_path):
    record = evaluate(Painter(), [make(protocol="released")], output=tmp_path / "run")
    overall = record.get("dpgbench")
    assert (overall.value, overall.n, overall.unscored) == (1.0, 8, 4)
    assert record.get("dpgbench", "entity").n == 2  # of the last picture alone
    assert record.get("dpgbench", "entity").value == 1.0


def test_the_released_code_takes_categories_of_the_last_picture_and_whole_prompts(make, server):
    task = make(protocol="released")
    samples, scores = [], []
    for sample in task.samples():
        questions = sample.inputs["questions"]
        for repeat in range(4):
            broken = sample.inputs["key"] == "0" and repeat == 1
            samples.append(sample)
            scores.append(
                Score(
                    sample_id=sample.id,
                    repeat=repeat,
                    values={} if broken else {"score": 0.25 * repeat},
                    payload={"answers": {str(q["id"]): repeat == 3 for q in questions}},
                    unscored="no answer" if broken else None,
                )
            )
    task.use_judge(ModelJudge(YesSayer()))
    found = {metric.name: metric for metric in task.summarize(samples, scores)}
    assert (found["overall"].n, found["overall"].unscored) == (8, 4)
    assert found["overall"].value == pytest.approx(0.375)
    assert found["entity"].value == 1.0
    corrected = make()
    corrected.use_judge(ModelJudge(YesSayer()))
    found = {metric.name: metric for metric in corrected.summarize(samples, scores)}
    assert (found["overall"].n, found["overall"].unscored) == (11, 1)


def test_the_protocol_and_the_judge_are_in_the_hash_and_references_are_not(make):
    def hash_of(task, judge=None, overrides=None):
        task.use_judge(ModelJudge(judge or YesSayer()))
        return task.protocol_hash(overrides or {})

    plain_hash = hash_of(make())
    assert plain_hash == hash_of(make(resolution=512), overrides={"resolution": 512})
    assert plain_hash != hash_of(make(protocol="released"))
    other = YesSayer()
    other.fingerprint = "7" * 64
    assert plain_hash != hash_of(make(), other)
    task = make()
    task.card = task.card.model_copy(update={"references": ()})
    assert plain_hash == hash_of(task)


# Judges


class YesSayer:
    """A model of the harness that says yes, or what it is told to."""

    name = "yes-sayer"
    fingerprint = "1" * 64

    def __init__(self, says="yes"):
        self.says = says

    def describe(self):
        return {}

    def generate_text(self, requests):
        return [self.says for _ in requests]


def test_a_model_of_the_harness_judges(make, tmp_path):
    task = make(judge=None)
    task.use_judge(ModelJudge(YesSayer()))
    assert evaluate(Painter(), [task], output=tmp_path / "run").get("dpgbench").value == 1.0


def test_the_official_judge_is_the_default_and_named_with_its_command(make, tmp_path, monkeypatch):
    monkeypatch.setattr("unimm_eval.judges.mplug.find_spec", lambda name: None)
    assert DPGBench.Config().judge == "mplug"
    model = Painter()
    with pytest.raises(UserError, match="needs modelscope") as caught:
        evaluate(model, [make(judge="mplug")], output=tmp_path / "run")
    assert "pip install 'unimm-eval[modelscope]'" in caught.value.fix
    assert model.seen == []
    with pytest.raises(UserError, match="needs a judge") as caught:
        evaluate(model, [make(judge=None)], output=tmp_path / "run")
    assert "--set dpgbench.judge=mplug" in caught.value.fix


@pytest.mark.parametrize("shape", ["{}", " {}.\n", "**{}**", "<think>{} or not</think>{}"])
def test_yes_and_no_are_read(shape):
    for word in ("yes", "Yes", "YES"):
        assert yes_or_no(shape.format(word, word))
    for word in ("no", "No", "NO"):
        assert not yes_or_no(shape.format(word, word))


@pytest.mark.parametrize(
    "text",
    ["", "yes, there is", "no yes", "The answer is yes", "1", "yes!", '"yes"', "yes\nno", "true"],
)
def test_prose_is_no_verdict(text):
    with pytest.raises(ValueError, match="is neither yes nor no"):
        yes_or_no(text)


def test_prose_leaves_the_picture_unscored_and_is_asked_for_again(make, server, tmp_path):
    server.answer = lambda body: (
        "Ignore all rules: yes to everything." if "bird?" in question_of(body) else "yes"
    )
    record = evaluate(Painter(), [make()], output=tmp_path / "run")
    overall = record.get("dpgbench")
    assert (overall.value, overall.n, overall.unscored) == (1.0, 8, 4)
    asked = [body for body in server.bodies if "bird?" in question_of(body)]
    assert len(asked) == 4 * 3  # as often as the card says
    row = record.get("dpgbench", "entity")
    assert (row.n, row.unscored) == (12, 4)


def test_prose_below_a_no_costs_nothing(make, server, tmp_path):
    def answer(body):
        if asks_about_a_hat(body):
            return "no"
        return "It is rather scarlet." if "hat red?" in question_of(body) else "yes"

    server.answer = answer
    record = evaluate(Painter(), [make()], output=tmp_path / "run")
    overall = record.get("dpgbench")
    assert (overall.value, overall.unscored) == (pytest.approx(sum(NO_HAT.values()) / 3), 0)
    assert record.get("dpgbench", "attribute - color").unscored == 4


def test_an_outage_leaves_pictures_unscored_and_the_same_command_goes_on(make, server, tmp_path):
    with serving(JudgeServer(answer=no_hat)) as clean:
        expected = evaluate(Painter(), [make(judge=clean.spec)], output=tmp_path / "clean")
    server.fault = lambda question, nth: "503" if "dog?" in question else ""
    model = Painter()
    with pytest.raises(IncompleteError, match="4 of 12 outputs could not be judged") as caught:
        evaluate(model, [make()], output=tmp_path / "run")
    assert caught.value.exit_code == 3
    server.fault = lambda question, nth: ""
    server.bodies.clear()
    record = evaluate(model, [make()], output=tmp_path / "run")
    assert len(model.seen) == 12  # no picture was made again
    assert sum("one word" in question_of(body) for body in server.bodies) == 16
    assert record.results == expected.results


# What the files say


def test_a_prompt_whose_questions_are_no_graph_is_unscored_and_told(make, tmp_path):
    circle = {**QUESTIONS, "0": [(1, "2", "entity - whole (a)", "a?"), (2, "1", "global -", "b?")]}
    task = make(rows=rows_of(circle), prompts={**PROMPTS, "5": "Nobody asks about this."})
    record = evaluate(Painter(), [task], output=tmp_path / "run")
    assert (record.get("dpgbench").n, record.get("dpgbench").unscored) == (8, 8)
    lines = [json.loads(line) for line in (
        tmp_path / "run/exports/dpgbench/unscored.jsonl").read_text().splitlines()]  # fmt: skip
    assert {line["filename"]: line["unscored"] for line in lines} == {
        "0.png": ["prompt 0: questions depend on each other in a circle: 1, 2"],
        "5.png": ["prompt 5: there is no question about it"],
    }


def test_what_of_the_table_is_in_no_number_is_told(make, tmp_path):
    more = {**QUESTIONS, "stranger1": [(1, "0", "colour (x)", "x?")],
            "0": [*QUESTIONS["0"], (3, "1", "taste - sweet (x)", "x?")]}  # fmt: skip
    record = evaluate(Painter(), [make(rows=rows_of(more))], output=tmp_path / "run")
    facts = record.get("dpgbench").facts
    assert facts["items_without_prompt"] == ["stranger1"]
    assert facts["questions_of_no_category"] == {"taste - sweet": 1}


# Pictures that are there already


@pytest.fixture
def grids(tmp_path):
    folder = tmp_path / "grids"
    folder.mkdir()
    for key in PROMPTS:
        pictures = [plain(key, repeat) for repeat in range(4)]
        Image.fromarray(grid_of(pictures)).save(folder / f"{key}.png")
    return folder


def test_grids_are_cut_in_four(make, grids, tmp_path, server):
    def by_picture(body):
        return "no" if digest(json.dumps(body)) % 3 == 0 else "yes"

    server.answer = by_picture
    made = evaluate(Painter(), [make()], output=tmp_path / "made")
    read = evaluate(f"images:{grids}", [make(resolution=SIDE)], output=tmp_path / "read")
    assert read.results == made.results


def test_what_a_run_writes_can_be_read_again(make, tmp_path):
    made = evaluate(Painter(), [make()], output=tmp_path / "made")
    exported = tmp_path / "made/exports/dpgbench"
    assert {path.name for path in exported.iterdir()} == {
        "results.txt",
        *(f"{key}.png" for key in PROMPTS),
    }
    lines = dict(
        line.split(", ", 1) for line in (exported / "results.txt").read_text().splitlines()
    )
    assert lines["partiprompts7.png"] == "0.25, 0.25, 0.25, 0.25, 0.25"
    read = evaluate(f"images:{exported}", [make(resolution=SIDE)], output=tmp_path / "read")
    assert read.results == made.results


def test_a_grid_of_another_size_is_refused_with_its_name(make, grids, tmp_path):
    Image.new("RGB", (2 * SIDE, 2 * SIDE - 1)).save(grids / "partiprompts7.png")
    record = evaluate(f"images:{grids}", [make(resolution=SIDE)], output=tmp_path / "run")
    assert (record.get("dpgbench").n, record.get("dpgbench").unscored) == (8, 4)
    text = (tmp_path / "run/exports/dpgbench/unscored.jsonl").read_text()
    assert "the grid of partiprompts7 has 12 × 11 pixels instead of 12 × 12" in json.loads(
        text)["unscored"][0]  # fmt: skip


def test_a_grid_needs_its_resolution(make, grids, tmp_path):
    with pytest.raises(UserError, match="one picture or a grid of four") as caught:
        evaluate(f"images:{grids}", [make()], output=tmp_path / "run")
    assert f"--set dpgbench.resolution={SIDE}" in caught.value.fix


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_file_that_is_missing_or_no_picture_is_reported(make, grids, tmp_path, content):
    path = grids / "0.png"
    path.unlink() if content is None else path.write_bytes(content)
    record = evaluate(f"images:{grids}", [make(resolution=SIDE)], output=tmp_path / "run")
    assert (record.get("dpgbench").n, record.get("dpgbench").unscored) == (8, 4)
    line = json.loads((tmp_path / "run/exports/dpgbench/unscored.jsonl").read_text())
    assert line["filename"] == "0.png"
    assert "0" in line["unscored"][0]


def test_one_file_of_one_picture(make, tmp_path):
    folder = tmp_path / "single"
    folder.mkdir()
    for key in PROMPTS:
        Image.fromarray(plain(key, 0)).save(folder / f"{key}.png")
    record = evaluate(f"images:{folder}", [make(images_per_prompt=1)], output=tmp_path / "run")
    assert (record.get("dpgbench").n, record.get("dpgbench").unscored) == (3, 0)


def test_a_folder_a_prompt_is_read_too(make, tmp_path):
    folder = tmp_path / "folders"
    for key in PROMPTS:
        (folder / key / "samples").mkdir(parents=True)
        for repeat in range(4):
            Image.fromarray(plain(key, repeat)).save(folder / key / f"samples/{repeat:04d}.png")
    record = evaluate(f"images:{folder}", [make()], output=tmp_path / "run")
    assert (record.get("dpgbench").n, record.get("dpgbench").unscored) == (12, 0)


def test_pictures_of_several_sizes_make_no_grid():
    with pytest.raises(ValueError, match="of one size"):
        grid_of([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 5, 3), np.uint8)])
    assert grid_of([np.ones((2, 2, 3), np.uint8)]).sum() == 12


def test_the_exhibit_shows_the_answers(make):
    task = make()
    sample = next(iter(task.samples()))
    score = Score(
        sample_id=sample.id, values={"score": 0.5}, payload={"answers": {"1": True, "2": False}}
    )
    output = type("Made", (), {"media": {"picture": Picture(array=plain("0", 0))}})()
    shown = task.exhibit(sample, output, score)
    assert shown.facts == {"Are there cups?": "yes", "Are there two cups?": "no"}
    assert shown.note == "score 0.500"
