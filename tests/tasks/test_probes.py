"""`probes` and `probes:mini` as runs: known features give known numbers."""

import csv
import io
from collections import Counter, defaultdict

import numpy as np
import pytest
from task_runs import run_task

from unimm_eval import evaluate, stats
from unimm_eval.api import (
    DefectError,
    IncompleteError,
    Picture,
    PictureFeatures,
    UserError,
    encode_png,
)

COLORS = {"blue": (20, 30, 220), "green": (30, 200, 40), "red": (220, 20, 30)}
QUICK = {
    "learning_rates": (4.0, 32.0),
    "penalties": (1.0,),
    "least_steps": 60,
    "probe_batch_size": 64,
    "decoder_pictures": 6,
}
WIDTH = 8


class Blind:
    name, fingerprint = "blind", "0" * 16

    def describe(self):
        return {}


class Seer(Blind):
    """Tokens are 2 x 2 patches of a picture of 8 pixels. The encoder is noise and then the mean
    colour, `skill` says how much of the colour each layer of the backbone has besides noise."""

    name, fingerprint = "seer", "1" * 16

    def __init__(self, *, skill=(0.1, 1.0), twin_skill=None, broken=(), stop_after=None):
        self.skill, self.broken, self.stop_after = skill, set(broken), stop_after
        self.shown = 0
        if twin_skill is not None:
            self.twin = lambda: Seer(skill=twin_skill)

    def features(self, pictures, *, pool):
        if self.stop_after is not None and self.shown >= self.stop_after:
            raise RuntimeError("killed")
        self.shown += len(pictures)
        pixels = np.stack([picture.load() for picture in pictures])
        found = [self._of(picture) for picture in pixels]
        stacks = {
            name: np.stack([each[name] for each in found]).astype(np.float32)
            for name in ("encoder", "backbone")
        }
        if pool == "mean":
            stacks = {name: array.mean(axis=2) for name, array in stacks.items()}
        return PictureFeatures(stacks=stacks, pixels=pixels)

    def _of(self, picture):
        rng = np.random.default_rng(picture.astype(int).sum())
        noise = rng.normal(size=(1 + len(self.skill), 4, WIDTH))
        cut = picture.reshape(2, 4, 2, 4, 3).mean((1, 3)).reshape(4, 3) / 255
        color = np.concatenate([cut, np.zeros((4, WIDTH - 3))], axis=1)
        backbone = np.stack(
            [skill * color + (1 - skill) * noise[1 + at] for at, skill in enumerate(self.skill)]
        )
        if int(picture.astype(int).sum()) in self.broken:
            backbone[-1, 0, 0] = np.nan
        return {"encoder": np.stack([noise[0], color + 0.02 * noise[0]]), "backbone": backbone}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Pictures of about three colours, 30 of each; every quarter has one of its own."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(30):
            quarters = np.array(color) + rng.normal(scale=40, size=(2, 2, 3))
            array = np.kron(quarters, np.ones((4, 4, 1))) + rng.normal(size=(8, 8, 3))
            picture = encode_png(array.clip(0, 255).astype(np.uint8))
            (tmp_path / "data" / name / f"{index}.png").write_bytes(picture)
    return tmp_path / "data"


def probed(model, folder, output="run", **settings):
    settings = {"path": str(folder), **QUICK, **settings}
    return evaluate(model, "probes", output=output, settings={"probes": settings})


def test_the_best_layer_is_chosen_by_validation_and_reported_on_test(make_task, context, folder):
    run = run_task(make_task("probes", path=folder, **QUICK), Seer(skill=(0.0, 1.0, 0.3)), context)
    metrics = run.metrics
    assert metrics["backbone_accuracy"].value == 1.0
    assert metrics["backbone_accuracy"].facts["best_layer"] == {"class": 1}
    assert metrics["backbone_accuracy"].chance == pytest.approx(1 / 3)
    assert metrics["backbone_accuracy"].n == 9
    low, high = stats.wilson_interval(1.0, 9, df=8)
    assert metrics["backbone_accuracy"].interval == pytest.approx((low, high))
    assert metrics["encoder_accuracy"].facts["layer"] == {"class": 1}
    difference = 1.0 - metrics["encoder_accuracy"].value
    assert metrics["backbone_over_encoder"].value == pytest.approx(difference)
    assert "backbone_over_twin" not in metrics
    by_layer = metrics["backbone_accuracy"].facts["by_layer"]["class"]
    assert [row["layer"] for row in by_layer] == [0, 1, 2]
    assert by_layer[1]["value"] == 1.0 > by_layer[0]["value"]
    assert by_layer[1]["learning_rate"] in QUICK["learning_rates"]
    for row in by_layer:
        assert row["low"] <= row["value"] <= row["high"]
    of_train = [
        score.payload
        for sample, score in zip(run.samples, run.scores, strict=True)
        if sample.inputs["split"] == "train"
    ]
    assert all(payload == {"split": "train"} for payload in of_train)


def test_psnr_falls_where_layers_lose_the_pixels(make_task, context, folder):
    task = make_task("probes", path=folder, **QUICK)
    facts = run_task(task, Seer(skill=(1.0, 0.5, 0.0)), context).metrics["backbone_psnr"].facts
    values = [row["value"] for row in facts["by_layer"]]
    assert values[0] > values[1] > values[2]
    without = run_task(
        make_task("probes", path=folder, **{**QUICK, "decoder_pictures": 0}), Seer(), context
    )
    assert "backbone_psnr" not in without.metrics
    assert "backbone_accuracy" in without.metrics


def test_the_twin_is_probed_beside_it(make_task, context, folder):
    task = make_task("probes", path=folder, **QUICK, twin=True)
    metrics = run_task(task, Seer(skill=(1.0,), twin_skill=(0.0,)), context).metrics
    over = metrics["backbone_over_twin"]
    assert metrics["backbone_accuracy"].chance == pytest.approx(1.0 - over.value)
    assert over.value > 0.2
    assert over.interval[0] < over.value < over.interval[1]
    itself = Seer(skill=(0.5,))
    itself.twin = lambda: itself
    same = run_task(make_task("probes", path=folder, **QUICK, twin=True), itself, context).metrics
    assert same["backbone_over_twin"].value == 0.0


def test_a_run_leaves_a_table_a_figure_and_pictures_with_answers(folder, tmp_path, make_task):
    record = probed(Seer(), folder)
    row = record.get("probes")
    assert (row.metric, row.value, row.n) == ("backbone_accuracy", 1.0, 9)
    exports = tmp_path / "run" / "exports" / "probes"
    assert (exports / "figure-28-layers.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO((exports / "probes.csv").read_text())))
    assert Counter((row["stack"], row["measure"]) for row in rows) == {
        ("encoder", "class accuracy"): 2,
        ("backbone", "class accuracy"): 2,
        ("encoder", "psnr"): 2,
        ("backbone", "psnr"): 2,
    }
    arrays = tmp_path / "run" / "arrays" / "probes"
    assert np.load(arrays / "backbone.npy").shape == (90, 2, WIDTH)
    assert np.load(arrays / "backbone.tokens.npy").shape == (18, 2, 4, WIDTH)
    assert np.load(arrays / "pixels.npy").dtype == np.uint8


def test_exhibits_are_of_the_test_split(make_task, context, folder):
    task = make_task("probes", path=folder, **QUICK)
    run = run_task(task, Seer(), context)
    rows = zip(run.samples, run.outputs, run.scores, strict=True)
    shown = [exhibit for row in rows if (exhibit := task.exhibit(*row)) is not None]
    assert len(shown) == 9
    assert all(exhibit.correct and exhibit.answer == exhibit.expected for exhibit in shown)
    assert all(exhibit.shown["picture"].load().shape == (8, 8, 3) for exhibit in shown)


def test_a_stopped_run_shows_each_picture_once_and_ends_with_the_same_numbers(folder, tmp_path):
    whole = probed(Seer(), folder)
    killed = Seer(stop_after=40)
    with pytest.raises(DefectError, match="killed"):
        probed(killed, folder, output="stopped")
    rest = Seer()
    again = probed(rest, folder, output="stopped")
    assert again.results == whole.results
    assert 0 < rest.shown < 90


def test_features_that_are_not_finite_cost_their_picture_and_are_named(folder, tmp_path):
    bad = next(folder.glob("red/*.png"))
    broken = Seer(broken=[int(Picture(path=bad).load().astype(int).sum())])
    record = probed(broken, folder)
    assert record.get("probes").unscored == 1
    every = Seer(skill=(float("nan"),))
    with pytest.raises(IncompleteError, match=r"backbone\.0 is not finite"):
        probed(every, folder, output="none")


def test_a_picture_that_does_not_decode_is_named_and_left_out(folder):
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    record = probed(Seer(), folder)
    assert record.get("probes").unscored == 1


@pytest.mark.parametrize("task", ["probes", "probes:mini"])
def test_a_model_without_features_is_refused_by_capability(task, folder, tmp_path):
    settings = {"probes": {"path": str(folder)}}
    with pytest.raises(UserError, match=f"cannot run {task}: it lacks ExposesFeatures"):
        evaluate(Blind(), task, output=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_bad_pictures_and_a_blind_model_are_told_at_once(tmp_path):
    for name, count in (("ring", 5), ("moon", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(count):
            array = np.full((8, 8, 3), 10 * index, np.uint8)
            (tmp_path / "data" / name / f"{index}.png").write_bytes(encode_png(array))
    with pytest.raises(UserError) as raised:
        probed(Blind(), tmp_path / "data")
    assert "lacks ExposesFeatures" in raised.value.what
    assert "moon has one picture" in raised.value.what


class WorldSeer(Seer):
    """Of the world's pictures, 16 tokens of 8 pixels a side."""

    def _of(self, picture):
        cut = picture.reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, 192) / 255
        return {"encoder": cut[None], "backbone": np.stack([cut, cut**2])}


@pytest.mark.parametrize("limit", [1, 9, 120])
def test_any_limit_of_mini_gives_a_record(limit, tmp_path):
    settings = {"probes:mini": {"least_steps": 20, "learning_rates": (16.0,)}}
    record = evaluate(
        WorldSeer(), "probes:mini", limit=limit, output=tmp_path / "run", settings=settings
    )
    found = {row.metric for row in record.results}
    assert all(row.limited for row in record.results)
    assert ("backbone_accuracy" in found) == (limit >= 9)
    if limit == 120:
        color = next(row for row in record.results if row.metric == "color_accuracy")
        assert color.value > 0.5
        assert 0 <= color.interval[0] <= color.value <= color.interval[1] <= 1


def test_mini_has_every_class_in_every_split_and_no_scan_in_two(make_task):
    task = make_task("probes:mini")
    labels, scans = defaultdict(Counter), defaultdict(set)
    for sample in task.samples():
        for target, label in sample.inputs["labels"].items():
            labels[sample.inputs["split"], target][label] += 1
        if "digit" in sample.inputs["labels"]:
            scans[sample.inputs["split"]].add(sample.cluster)
    for (split, target), counts in labels.items():
        assert len(counts) == {"shape": 8, "color": 8, "digit": 10}[target], (split, target)
    assert not scans["train"] & scans["test"]
    assert not scans["val"] & (scans["train"] | scans["test"])
