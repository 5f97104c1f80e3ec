"""Two runs side by side: pairs, errors, distances and flipped verdicts."""

import json
import math
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from engine_fakes import Draw, FakeModel, FakeTask, Say

from unimm_eval import evaluate
from unimm_eval.api import (
    ChatRequest,
    Exhibit,
    ImageRequest,
    Output,
    Picture,
    Score,
    TaskConfig,
    UserError,
    load_record,
    make_samples,
)
from unimm_eval.engine.compare import compare_runs
from unimm_eval.stats import clustered_mean, paired_difference


class Pupil(FakeModel):
    """Says `answers[number]`, paints `colour[number]`; 0 where nothing is written."""

    def __init__(self, answers=(), shades=(), name="fake"):
        super().__init__(name, fingerprint=f"{answers}{shades}")
        self.answers, self.shades = dict(answers), dict(shades)

    def generate_text(self, requests):
        return [str(self.answers.get(int(request.parts[0]), 0)) for request in requests]

    def generate_images(self, requests):
        return [
            np.full((4, 4, 3), self.shades.get((int(request.prompt), request.repeat), 0), np.uint8)
            for request in requests
        ]


class QuizConfig(TaskConfig):
    strict: bool = False


class Quiz(FakeTask):
    """Numbers to repeat; an answer of −1 cannot be judged, one of 99 costs the output."""

    Config = QuizConfig
    size = 12

    def samples(self):
        rows = (({"number": number}, f"c{number % 4}") for number in range(self.size))
        return make_samples(rows)

    def produce(self, model, items, ctx):
        requests = [
            ChatRequest(sample_id=item.sample.id, parts=(str(item.sample.inputs["number"]),))
            for item in items
        ]
        for item, answer in zip(items, model.generate_text(requests), strict=True):
            number = float(answer)
            error = "nothing was said" if number == 99 else None
            values = {} if error else {"answer": answer, "number": number, "log": math.inf}
            yield Output(sample_id=item.sample.id, values=values, error=error)

    def judge(self, samples, outputs):
        for sample, output in zip(samples, outputs, strict=True):
            number = output.values["number"]
            if number == -1:
                yield Score(sample_id=sample.id, unscored="the judge is down")
            else:
                right = float(number == sample.inputs["number"])
                yield Score(sample_id=sample.id, values={"correct": right, "size": number})

    def summarize(self, samples, scores):
        kept = [score for score in scores if score.unscored is None]
        scores = [Score(sample_id=s.sample_id, values={"value": s.values["correct"]}) for s in kept]
        return super().summarize(samples, scores)

    def exhibit(self, sample, output, score):
        number = sample.inputs["number"]
        return Exhibit(
            group="odd" if number % 2 else "even",
            prompt=str(number),
            answer=output.values["answer"] if number < 6 else "",
            note="a large number",
            facts={"said": output.values["answer"], "asked": number},
        )


class Shades(FakeTask):
    """Pictures that nobody judges right or wrong."""

    size = 3
    repeats = 2

    def produce(self, model, items, ctx):
        requests = [
            ImageRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                prompt=str(item.sample.inputs["number"]),
                key=item.sample.id,
                guidance_scale=1,
                num_inference_steps=1,
            )
            for item in items
        ]
        for item, array in zip(items, model.generate_images(requests), strict=True):
            yield Output(
                sample_id=item.sample.id,
                repeat=item.repeat,
                media={"picture": Picture(array=array)},
            )

    judge = Draw.judge


@pytest.fixture
def compare(tmp_path):
    """Run each side's model on the tasks, and compare."""

    def run(a, b, tasks, *, theirs=None, **settings_of_b):
        evaluate(a, tasks, output=tmp_path / "a")
        evaluate(b, theirs or tasks, output=tmp_path / "b", **settings_of_b)
        return compare_runs(tmp_path / "a", tmp_path / "b", tasks=tasks)

    return run


def test_a_run_is_equal_to_itself(compare):
    tasks = [Say("say"), Draw("draw")]
    comparison = compare(FakeModel(), FakeModel(), tasks)
    assert comparison.setup == comparison.refused == comparison.only_in_a == ()
    say, draw = comparison.tasks
    assert (say.n, draw.n) == (10, 20)
    mean, spread = say.metrics
    assert (mean.metric, mean.headline, mean.a) == ("mean", True, mean.b)
    assert (mean.change.value, mean.change.stderr, mean.p_holm) == (0, 0, 1)
    assert spread.p_holm is None
    assert (say.samples.better, say.samples.worse, say.samples.same) == (0, 0, 10)
    (text,), (picture,) = say.outputs, draw.outputs
    assert (text.kind, text.n, text.equal, text.largest) == ("text", 10, 10, None)
    assert (picture.kind, picture.n, picture.equal, picture.largest) == ("picture", 20, 20, 0)
    assert not any(task.flips for task in comparison.tasks)


def test_every_flipped_verdict_is_listed_with_what_was_said(compare):
    a = Pupil({number: number for number in range(10)})
    b = Pupil({number: number for number in range(12)} | {2: 5, 9: 1})
    (task,) = compare(a, b, [Quiz("quiz")]).tasks
    listed = [(flip.group, flip.a, flip.b, flip.said_a, flip.said_b) for flip in task.flips]
    assert listed == [
        ("even", 1, 0, "2", "5"),
        ("odd", 1, 0, "a large number; said: 9", "a large number; said: 1"),
        ("even", 0, 1, "a large number; said: 0", "a large number; said: 10"),
        ("odd", 0, 1, "a large number; said: 0", "a large number; said: 11"),
    ]
    assert {flip.score for flip in task.flips} == {"correct"}
    assert [flip.repeat for flip in task.flips] == [0] * 4


def test_the_difference_is_paired_and_clustered(compare):
    b = Pupil({number: number for number in (0, 1, 2, 5, 6, 9, 11)})
    (task,) = compare(Pupil(), b, [Quiz("quiz")]).tasks
    mean = task.metrics[0]
    right = [float(number in b.answers) for number in range(12)]
    before = [1.0] + [0.0] * 11
    expected = paired_difference(right, before, [f"c{number % 4}" for number in range(12)])
    assert mean.change.value == pytest.approx(expected.value)
    assert mean.change.stderr == pytest.approx(expected.stderr)
    assert (mean.a, mean.b) == pytest.approx((1 / 12, 7 / 12))
    assert (mean.change.clusters, mean.change.df, mean.change.paired) == (4, 3, True)
    # Few clusters, and a share: the interval is wider than that of a measurement.
    low, high = mean.change.interval
    assert low < expected.interval[0] < 0.5 < expected.interval[1] < high


def test_samples_are_told_by_how_much_they_changed(compare):
    a = Pupil({3: 4, 5: 5})
    b = Pupil({1: 1, 3: 9, 5: 6, 8: 8})
    (task,) = compare(a, b, [Quiz("quiz")]).tasks
    assert (task.samples.score, task.samples.better, task.samples.worse) == ("correct", 2, 1)
    assert task.samples.same == 9
    told = [(row.prompt, row.a, row.b, row.better, row.said_b) for row in task.samples.most]
    assert told == [
        ("1", 0, 1, True, "1"),
        ("5", 1, 0, False, "6"),
        ("8", 0, 1, True, "a large number; said: 8"),
    ]


def test_repeats_of_a_sample_are_one_sample(compare):
    shades = {(0, 0): 30, (0, 1): 90, (1, 0): 30}
    (task,) = compare(Pupil(), Pupil(shades=shades), [Shades("shades")]).tasks
    assert (task.samples.better, task.samples.same) == (3, 0)
    first, _, last = task.samples.most  # the last sample is equal to the first
    assert (first.repeat, first.b) == (1, pytest.approx(60 / 255))
    assert (last.repeat, last.b) == (0, pytest.approx(15 / 255))


def test_p_values_are_adjusted_for_the_number_of_tasks(compare):
    b = Pupil({number: number for number in range(12)})
    alone, other = compare(Pupil(), b, [Quiz("quiz"), Quiz("other")]).tasks
    mean = alone.metrics[0]
    assert mean.p_holm == pytest.approx(2 * mean.change.p)
    assert other.metrics[0].p_holm == mean.p_holm


def test_numbers_tell_how_far_they_are_apart(compare):
    (task,) = compare(Pupil({3: 2.0, 5: -8.0}), Pupil({3: 2.5}), [Quiz("quiz")]).tasks
    found = {row.name: row for row in task.outputs}
    number = found["number"]
    assert (number.kind, number.n, number.equal) == ("number", 12, 10)
    assert (number.largest, number.relative) == (8.0, 1.0)
    assert (found["log"].equal, found["log"].largest) == (12, None)  # infinities have no distance
    assert (found["answer"].kind, found["answer"].equal) == ("text", 10)


def test_pictures_tell_how_many_are_equal_and_the_largest_pixel(compare):
    tasks = [Shades("shades")]
    comparison = compare(Pupil(), Pupil(shades={(1, 1): 3, (0, 0): 250}), tasks)
    (picture,) = comparison.tasks[0].outputs
    assert (picture.name, picture.n, picture.equal, picture.largest) == ("picture", 6, 3, 250)
    assert comparison.tasks[0].flips == ()  # shades are not verdicts


def test_what_has_no_score_is_counted_and_left_out(compare):
    right = {number: number for number in range(12)}
    a, b = Pupil({**right, 4: -1, 5: 99}), Pupil({**right, 4: 0, 5: 0, 6: 0})
    (task,) = compare(a, b, [Quiz("quiz")]).tasks
    assert (task.n, task.unscored) == (12, 2)
    assert [flip.said_b for flip in task.flips] == ["a large number; said: 0"]
    assert task.metrics[0].n == 10


def test_samples_that_stand_in_one_run_only_are_counted(compare):
    comparison = compare(Pupil(), Pupil(), [Quiz("quiz")], limit=5)
    (task,) = comparison.tasks
    assert (task.n, task.only_in_a, task.only_in_b) == (5, 7, 0)
    assert "tasks.quiz.samples: 12 in A, 5 in B" in comparison.setup


def test_a_task_of_another_protocol_is_refused_and_says_in_what(compare):
    strict = Quiz("quiz", config=QuizConfig(strict=True))
    comparison = compare(
        Pupil(), Pupil(), [Quiz("quiz"), Say("say")], theirs=[strict, Say("say")], seed=3
    )
    (refused,) = comparison.refused
    assert (refused.task, refused.fields) == ("quiz", ("set.strict: absent in A, true in B",))
    assert [task.task for task in comparison.tasks] == ["say"]
    assert "seed: 0 in A, 3 in B" in comparison.setup
    assert not any("quiz" in line for line in comparison.setup)


def test_another_card_is_refused(compare):
    class Carded(Quiz):
        def __init__(self, name, settings):
            super().__init__(name)
            self.card = self.card.model_copy(update={"settings": settings})

    ours = Carded("quiz", {"shots": [1, 2]})
    theirs = Carded("quiz", {"shots": [1, 3], "prompt": "another"})
    comparison = compare(Pupil(), Pupil(), [ours], theirs=[theirs])
    (refused,) = comparison.refused
    assert refused.fields == (
        "card.settings.shots.1: 2 in A, 3 in B",
        'card.settings.prompt: absent in A, "another" in B',
    )


def test_scores_are_those_of_the_judge_that_the_runs_had(compare):
    class Judged(Quiz):
        def judge_identity(self):
            return "other@2"

    comparison = compare(Pupil(), Pupil(), [Quiz("quiz")], theirs=[Judged("quiz")])
    (refused,) = comparison.refused
    assert refused.fields == ('judge: "fake@1" in A, "other@2" in B',)


class Features(Draw):
    """Pictures told apart by an array each, of which a published record has none."""

    def judge(self, samples, outputs):
        for output in outputs:
            yield Score(
                sample_id=output.sample_id,
                repeat=output.repeat,
                arrays={"pixels": output.media["picture"].load()},
            )

    def summarize(self, samples, scores):
        if any("pixels" not in score.arrays for score in scores):
            raise UserError("The features are not here.")
        values = [float(score.arrays["pixels"].mean()) / 255 for score in scores]
        clusters = [sample.cluster for sample in samples]
        return [clustered_mean(values, clusters).metric(name) for name in ("mean", "spread")]


def test_metrics_of_arrays_are_paired_in_folders_and_not_in_records(tmp_path):
    tasks = [Features("features")]
    for name, seed in (("a", 0), ("b", 1)):
        evaluate(FakeModel(), tasks, seed=seed, output=tmp_path / name)
    (task,) = compare_runs(tmp_path / "a", tmp_path / "b", tasks=tasks).tasks
    assert task.samples is None
    paired = task.metrics[0]
    assert (paired.change.paired, paired.n) == (True, 20)
    (tmp_path / "a" / "run.json").unlink()
    (task,) = compare_runs(tmp_path / "a", tmp_path / "b", tasks=tasks).tasks
    published = task.metrics[0]
    assert not published.change.paired
    assert (published.a, published.b) == pytest.approx((paired.a, paired.b))
    rows = [load_record(tmp_path / name).get("features") for name in ("a", "b")]
    assert published.change.stderr == pytest.approx(math.hypot(*(row.stderr for row in rows)))


def test_tasks_of_one_run_only_are_named(compare):
    tasks = [Say("say"), Draw("draw")]
    comparison = compare(FakeModel(), FakeModel(), tasks, theirs=[Draw("draw")])
    assert (comparison.only_in_a, comparison.only_in_b) == (("say",), ())
    assert [task.task for task in comparison.tasks] == ["draw"]


def test_the_order_of_the_runs_decides_only_the_sign(tmp_path):
    tasks = [Quiz("quiz")]
    evaluate(Pupil({1: 1}), tasks, output=tmp_path / "a")
    evaluate(Pupil({1: 1, 2: 2}), tasks, output=tmp_path / "b")
    there = compare_runs(tmp_path / "a", tmp_path / "b", tasks=tasks).tasks[0]
    back = compare_runs(tmp_path / "b", tmp_path / "a", tasks=tasks).tasks[0]
    for one, other in zip(there.metrics, back.metrics, strict=True):
        assert one.change.value == -other.change.value
        assert one.change.stderr == pytest.approx(other.change.stderr)
        assert one.change.p == pytest.approx(other.change.p)
    assert there.outputs == back.outputs
    assert [(f.a, f.b) for f in there.flips] == [(f.b, f.a) for f in back.flips] == [(0, 1)]


def test_everything_is_json(compare):
    comparison = compare(Pupil(), Pupil({2: 2}), [Quiz("quiz")])
    text = json.dumps(asdict(comparison), allow_nan=False)
    assert json.loads(text)["tasks"][0]["flips"][0]["said_b"] == "2"


def test_runs_that_cannot_be_read_are_refused(tmp_path):
    evaluate(FakeModel(), [Say("say")], output=tmp_path / "a")
    with pytest.raises(UserError, match="nowhere is not the folder of a run"):
        compare_runs(tmp_path / "a", tmp_path / "nowhere", tasks=[Say("say")])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "results.json").unlink()
    with pytest.raises(UserError, match="Was the run finished"):
        compare_runs(tmp_path / "a", tmp_path / "b", tasks=[Say("say")])
