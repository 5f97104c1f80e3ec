"""The sixteen by name on small rows in the official schemas: read, asked, graded, summed up."""

import hashlib
from dataclasses import dataclass, field

import pandas as pd
import pytest
from task_runs import run_task
from vqa16_rows import NAMES, ROWS, gqa, mmvp, write_jsonl, write_parquet, write_rows

from unimm_eval import evaluate
from unimm_eval.api import Context, Output, Score, UserError
from unimm_eval.engine.registry import group_entries, task_entries
from unimm_eval.judges import Answer
from unimm_eval.report import build_report
from unimm_eval.tasks.vqa16.official import Cambrian
from unimm_eval.tasks.vqa16.revisions import resolve


@dataclass
class Answers:
    """Says `say(request)` and remembers what it was asked."""

    say: object
    name: str = "answers"
    fingerprint: str = "a" * 64
    asked: list = field(default_factory=list)

    def describe(self):
        return {}

    def generate_text(self, requests):
        self.asked += requests
        return [self.say(request) for request in requests]


@pytest.fixture(scope="session")
def rows_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for name in NAMES:
        write_rows(folder, name)
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where `datasets` keeps what it read."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def entries():
    return task_entries()


@pytest.fixture
def make(rows_folder, data_dir, entries):
    def made(name, path=rows_folder, **settings):
        entry = entries[name]
        kind = entry.load()
        return kind(entry.card, kind.Config(path=path, **settings), data_dir=data_dir)

    return made


def right_answer(gold):
    return gold.get("letter", "").upper() or gold.get("answer") or gold["answers"][0]


def oracle(task):
    """A model that knows the answer to every (picture, question)."""
    known = {
        (sample.inputs["picture"], sample.inputs["question"]): right_answer(sample.inputs["gold"])
        for sample in task.samples()
        if sample.inputs["gold"]
    }
    digest = {}
    for sample in task.samples():
        if not sample.inputs["fault"]:
            key = hashlib.sha256(task._decode(sample.inputs).tobytes()).hexdigest()
            digest[key] = sample.inputs["picture"]

    def say(request):
        picture, question = request.parts
        return known[digest[hashlib.sha256(picture.load().tobytes()).hexdigest()], question]

    return Answers(say)


@pytest.mark.parametrize("name", NAMES)
def test_who_knows_is_always_right(make, tmp_path, name):
    for grading in ("released", "corrected"):
        task = make(name, grading=grading)
        run = run_task(task, oracle(task), Context(device="cpu", data_dir=tmp_path))
        assert list(run.metrics) == list(task.card.metrics)
        for metric_name, spec in task.card.metrics.items():
            metric = run.metrics[metric_name]
            # Released, RealWorldQA compares the first word alone: one of three rows has two.
            top = 200 / 3 if (name, grading) == ("realworldqa", "released") else spec.range[1]
            assert metric.value == pytest.approx(top)
            assert metric.unscored == 0


ODD = ["", " ", "...", "ééé", "(", "answer is", "\x00", "𝟘", "Z" * 40_000, "word " * 10_000]


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_is_too_odd(make, tmp_path, name):
    """Empty ones, 10,000 tokens, letters outside A to Z: wrong, and the run goes on."""
    task = make(name)
    for answer in ODD:
        model = Answers(lambda request, answer=answer: answer)
        run = run_task(task, model, Context(device="cpu", data_dir=tmp_path), batch_size=100)
        headline = next(iter(run.metrics.values()))
        assert headline.value == pytest.approx(0.0)
        assert headline.facts.get("empty_answers", 0) == (0 if answer.strip() else len(run.samples))


def test_prompts_are_cambrians(make, tmp_path):
    def first(name):
        return next(iter(make(name).samples())).inputs["question"]

    letter = "Answer with the option's letter from the given choices directly."
    word = "Answer the question using a single word or phrase."
    assert first("mmbench") == (
        "Look closely.\nWhat colour is thing 0? Options:\nA. red\nB. green\nC. blue\nD. cyan\n"
        + letter
    )
    assert first("gqa") == f"What is it, 0?\n{word}"
    assert first("ai2d").startswith("What is linked, 0?\nA. ring\nB. bar")
    assert first("mmmu") == f"Which one? Options:\nA. red\nB. green\nC. blue\n{letter}"
    assert first("textvqa") == f"what does it say?\nReference OCR tokens: STOP, now\n{word}"
    assert first("mmvp") == f"Which way? Options:\nA. left\nB. right\n{letter}"
    assert first("realworldqa") == "Which? A. one B. two"
    assert first("mathvista").endswith("then give the final answer.")


def test_the_request_is_the_picture_then_the_words_greedily(make, tmp_path):
    task = make("mme")
    model = Answers(lambda request: "Yes")
    run_task(task, model, Context(device="cpu", data_dir=tmp_path))
    request = model.asked[0]
    assert request.parts[0].load().shape == (32, 32, 3)
    assert (request.temperature, request.max_new_tokens, request.choices) == (0.0, 32, None)


def test_questions_about_a_picture_stand_together_and_are_its_cluster(make):
    samples = list(make("gqa").samples())
    clusters = [sample.cluster for sample in samples]
    assert len(samples) == 12
    assert len(set(clusters)) == 3
    assert clusters == sorted(clusters, key=clusters.index)


def test_no_picture_is_decoded_before_it_is_asked_about(make, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr("unimm_eval.tasks.vqa16.official.decode_picture", refuse)
    task = make("textvqa")
    task.check()
    samples = list(task.samples())
    assert samples[0].inputs["picture"]
    exhibit = task.exhibit(samples[0], Output(sample_id="x"), Score(sample_id="x", unscored="-"))
    with pytest.raises(AssertionError, match="decoded"):
        exhibit.shown["picture"].load()


@pytest.mark.parametrize("name", ["chartqa", "mmvp"])
def test_bad_rows_are_named_counted_and_cost_themselves_alone(make, tmp_path, name):
    rows = ROWS[name]() * 3
    answer = "Correct Answer" if name == "mmvp" else "answer"
    rows[0] = {**rows[0], "image": None}
    rows[2] = {**rows[2], "image": {"bytes": b"no picture", "path": None}}
    rows[4] = {**rows[4], answer: ""}
    write_parquet(tmp_path / "bad" / "rows.parquet", rows)
    task = make(name, path=tmp_path / "bad")
    record = evaluate(
        Answers(lambda request: "40" if name == "chartqa" else "a"),
        [task],
        output=tmp_path / "run",
    )
    row = record.get(name)
    assert row.facts["bad_rows"] == {
        "it has no picture": 1,
        "it has no answer (its " + answer + " is empty)": 1,
        "not a picture that can be decoded (no known format)": 1,
    }
    # In pairs each takes its partner along.
    assert row.unscored == (6 if name == "mmvp" else 3)
    frame = pd.read_parquet(tmp_path / "run" / "samples" / f"{name}.parquet")
    named = sorted(frame["unscored"].dropna())
    assert [reason.split(":")[0] for reason in named] == ["row 0", "row 2", "row 4"]


def test_rows_that_do_not_belong_are_not_asked(make):
    assert len(list(make("seed").samples())) == 6  # frames of films
    assert len(list(make("sqa").samples())) == 4  # questions without a picture
    assert len(list(make("cvbench2d").samples())) == 6
    assert len(list(make("cvbench3d").samples())) == 3


def test_more_options_than_letters_is_a_bad_row(make, tmp_path):
    row = {**ROWS["ai2d"]()[0], "options": [str(number) for number in range(27)]}
    write_parquet(tmp_path / "many" / "rows.parquet", [row, *ROWS["ai2d"]()])
    first = next(iter(make("ai2d", path=tmp_path / "many").samples()))
    assert first.inputs["fault"] == "row 0: it has 27 options, and letters end at Z"


def test_a_circle_counts_when_all_its_rotations_are_right(make, tmp_path):
    wrong = {"What colour is thing 0?": "D. red"}

    def say(request):
        question = request.parts[1]
        at_fault = any(key in question and value in question for key, value in wrong.items())
        letter = next(line[0] for line in question.splitlines() if line[1:] == ". red")
        return "A" if at_fault else letter

    task = make("mmbench")
    run = run_task(task, Answers(say), Context(device="cpu", data_dir=tmp_path))
    assert run.metrics["circular_accuracy"].value == pytest.approx(200 / 3)
    assert run.metrics["circular_accuracy"].n == 3
    assert run.metrics["circular_accuracy"].chance == pytest.approx(100 / 4**4)
    assert run.metrics["accuracy"].value == pytest.approx(1100 / 12)


def test_mme_adds_up_categories_and_counts_pairs(make, tmp_path):
    always = Answers(lambda request: "Yes")
    run = run_task(make("mme"), always, Context(device="cpu", data_dir=tmp_path))
    assert run.metrics["perception"].value == pytest.approx(10 * 50)
    assert run.metrics["perception"].chance == pytest.approx(10 * 75)
    assert run.metrics["cognition"].value == pytest.approx(4 * 50)
    cut = run_task(make("mme"), always, Context(device="cpu", data_dir=tmp_path), limit=5)
    assert cut.metrics == {}  # a sum lacks no category


def test_an_odd_subset_of_mme_is_summed_up_without_its_half_pair(make, tmp_path):
    task = make("mme")
    run = run_task(task, Answers(lambda r: "Yes"), Context(device="cpu", data_dir=tmp_path))
    metrics = task.summarize(run.samples[:-1], run.scores[:-1])
    found = {metric.name: metric for metric in metrics}
    assert found["cognition"].facts["units_cut_by_the_limit"] == 1


def test_mmvps_corrected_answers(make, tmp_path):
    def letters(grading):
        task = make("mmvp", tmp_path, grading=grading)
        return [sample.inputs["gold"]["letter"] for sample in task.samples()][:2]

    rows = [{**row, "Index": row["Index"] + 98} for row in mmvp()]
    rows[0]["Correct Answer"], rows[1]["Correct Answer"] = "(a)", "(b)"  # 99 and 100, as published
    write_parquet(tmp_path / "mmvp" / "rows.parquet", rows)
    assert letters("released") == ["a", "b"]
    assert letters("corrected") == ["b", "a"]


def test_a_judge_extracts_what_is_no_plain_answer(make, tmp_path):
    class Judge:
        identity, varies = "judge-1", False

        def __init__(self):
            self.asked = []

        def answers(self, questions):
            for question in questions:
                self.asked.append(question)
                yield Answer(key=question.key, text="B", log={})

    wordy = Answers(lambda request: "There is more of it on the right of the picture, I say")
    context = Context(device="cpu", data_dir=tmp_path)
    assert run_task(make("mathvista"), wordy, context).metrics["accuracy"].value == 0.0
    alone = make("mathvista", grading="corrected")
    assert alone.wants_judge is False
    run = run_task(alone, wordy, context)
    assert run.metrics == {}
    assert {score.unscored for score in run.scores} == {
        "the answer is a sentence and no judge is named"
    }
    task = make("mathvista", grading="corrected")
    task.use_judge(judge := Judge())
    run = run_task(task, wordy, context)
    assert len(judge.asked) == 2
    assert run.metrics["accuracy"].value == 50.0  # "B" is the choice, and no number
    assert run.metrics["accuracy"].facts["judge"] == "judge-1"
    assert task.judge_identity() != alone.judge_identity()


def test_vqa16_is_the_mean_of_sixteen(rows_folder, data_dir, tmp_path):
    knowing = Answers(lambda request: "Yes")
    record = evaluate(
        knowing,
        "vqa16",
        output=tmp_path / "run",
        data_dir=data_dir,
        settings={"vqa16": {"path": str(rows_folder)}},
    )
    group = group_entries()["vqa16"]
    parts = {
        name: record.get(name, member.metric).value * member.scale
        for name, member in group.members.items()
    }
    mean = record.get("vqa16")
    assert mean.value == pytest.approx(sum(parts.values()) / 16)
    assert record.get("vqa16", "general").value == pytest.approx(
        sum(parts[name] for name in ("mme", "mmbench", "seed", "gqa")) / 4
    )
    assert mean.facts["members"] == pytest.approx(parts)
    assert parts["mme"] == pytest.approx(25.0)
    page = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert 'id="task-vqa16"' in page
    assert rows_folder.name not in (tmp_path / "run" / "results.json").read_text()


def test_copies_of_equal_content_share_a_column(make, rows_folder, tmp_path):
    write_jsonl(tmp_path / "lines" / "rows.jsonl", ROWS["chartqa"]())
    one, other = make("chartqa"), make("chartqa", path=tmp_path / "lines")
    assert one.protocol_hash({}) == other.protocol_hash({})
    assert [s.id for s in one.samples()] == [s.id for s in other.samples()]
    run = run_task(other, oracle(other), Context(device="cpu", data_dir=tmp_path))
    assert run.metrics["accuracy"].value == 100.0
    corrected = make("chartqa", grading="corrected").protocol_hash({"grading": "corrected"})
    assert corrected != one.protocol_hash({})
    write_jsonl(tmp_path / "lines" / "rows.jsonl", ROWS["chartqa"]()[:2])
    assert make("chartqa", path=tmp_path / "lines").protocol_hash({}) != one.protocol_hash({})


def test_mmvp_as_its_repository_has_it(make, tmp_path):
    """A table and a folder of pictures; its first column is misspelled there."""
    folder = tmp_path / "MMVP"
    (folder / "MMVP Images").mkdir(parents=True)
    lines = ["lndex,Question,Options,Correct Answer"]
    for row in mmvp():
        (folder / "MMVP Images" / f"{row['Index']}.jpg").write_bytes(row["image"]["bytes"])
        lines.append(f"{row['Index']},{row['Question']},{row['Options']},{row['Correct Answer']}")
    (folder / "Questions.csv").write_text("\n".join(lines))
    task = make("mmvp", path=folder)
    run = run_task(task, oracle(task), Context(device="cpu", data_dir=tmp_path))
    assert run.metrics["pair_accuracy"].value == 100.0
    assert run.metrics["pair_accuracy"].n == 3


def test_gqa_with_its_pictures_in_the_rows(make, tmp_path):
    questions, pictures = gqa()
    shown = {row["id"]: row["image"] for row in pictures}
    rows = [{**row, "image": shown[row["imageId"]]} for row in questions]
    write_parquet(tmp_path / "gqa" / "rows.parquet", rows)
    task = make("gqa", path=tmp_path)
    assert [s.id for s in task.samples()] == [s.id for s in make("gqa").samples()]


def test_a_saved_data_set_is_read(make, tmp_path):
    import datasets

    kept = [{**row, "image": None} for row in ROWS["chartqa"]()]
    saved = datasets.DatasetDict({"test": datasets.Dataset.from_list(kept)})
    saved.save_to_disk(str(tmp_path / "saved"))
    samples = list(make("chartqa", path=tmp_path / "saved").samples())
    assert [sample.inputs["fault"] for sample in samples] == [
        f"row {number}: it has no picture" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no data set"),
        ({"rows.parquet": b"PAR1 not really"}, "cannot be read as a data set"),
        ({"rows.jsonl": b'{"question": "?"}\n{'}, "line 2, is not JSON"),
        ({"rows.jsonl": b"[1]"}, "line 1, is not an object"),
        ({"rows.jsonl": b'{"question": "?"}'}, "lacks the columns answer, type"),
        ({"rows.csv": b"\xff\xfe"}, "cannot be read"),
    ],
)
def test_a_folder_that_is_none_is_said_so(make, tmp_path, content, message):
    folder = tmp_path / "given"
    folder.mkdir()
    for name, data in (content or {}).items():
        (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        make("chartqa", path=folder).check()


def test_a_missing_folder_is_named(make, tmp_path):
    with pytest.raises(UserError, match="nowhere is not there"):
        make("chartqa", path=tmp_path / "nowhere").check()


@pytest.fixture
def hub(monkeypatch):
    """A hub with one repository, at the commit `hub["commit"]`."""
    import huggingface_hub

    state = {"commit": "a" * 40, "asked": []}

    def info(self, repository, *, revision=None, timeout=None):
        state["asked"].append(repository)
        if state["commit"] is None or not repository.startswith("lmms-lab-encoder/"):
            raise OSError("no such thing here")
        return type("Info", (), {"sha": "c" * 40 if revision else state["commit"]})

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    return state


def test_the_first_commit_holds_and_a_later_one_is_named(hub, tmp_path):
    def resolved(wanted=None):
        return resolve(
            ["lmms-lab/GQA", "lmms-lab-encoder/GQA"], wanted=wanted, folder=tmp_path, task="gqa"
        )

    first = resolved()
    assert (first.repository, first.commit) == ("lmms-lab-encoder/GQA", "a" * 40)
    assert first.moved_to is None
    hub["commit"] = "b" * 40
    moved = resolved()
    assert (moved.commit, moved.moved_to) == ("a" * 40, "b" * 40)
    assert resolved("main").commit == "c" * 40
    hub["commit"] = None
    assert resolved().commit == "a" * 40  # what is in the cache needs no network
    assert resolved("d" * 40).commit == "d" * 40


def test_without_network_and_without_a_copy_the_way_out_is_named(hub, tmp_path):
    hub["commit"] = None
    with pytest.raises(UserError, match=r"lmms-lab/GQA: no such") as caught:
        resolve(["lmms-lab/GQA"], wanted=None, folder=tmp_path, task="gqa")
    assert "--set gqa.path=FOLDER" in caught.value.fix


def test_rows_of_the_hub_stand_in_the_record_with_their_commit(hub, tmp_path, monkeypatch):
    import datasets

    loaded = []

    def load(repository, config, *, split, revision):
        loaded.append((repository, config, split, revision))
        return datasets.Dataset.from_list(ROWS["chartqa"]())

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub["commit"] = "a" * 40
    entry = task_entries()["chartqa"]

    def task():
        return Cambrian(entry.card, Cambrian.Config(), data_dir=tmp_path)

    model = Answers(lambda request: "40")
    record = evaluate(model, [task()], output=tmp_path / "one", data_dir=tmp_path)
    assert loaded == [("lmms-lab-encoder/ChartQA", None, "test", "a" * 40)]
    assert record.get("chartqa").facts["data"] == f"lmms-lab-encoder/ChartQA@{'a' * 40}"
    assert record.run.tasks["chartqa"]["data"] == {"lmms-lab-encoder/ChartQA": "a" * 40}
    hub["commit"] = "b" * 40
    later = evaluate(model, [task()], output=tmp_path / "two", data_dir=tmp_path)
    assert later.get("chartqa").facts["revision_moved_to"] == "b" * 40
    assert later.get("chartqa").protocol_hash == record.get("chartqa").protocol_hash
