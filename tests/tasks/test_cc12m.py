"""`cc12m`: pictures and captions of the user, and of the world, at fixed (t, noise)."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from task_runs import ConstantFlow, run_task

from unimm_eval.api import UserError, encode_png
from unimm_eval.tasks.cc12m.flow import by_time


def draw(path, value=200, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.full((*size, 3), value, np.uint8)))
    return path


@pytest.fixture
def folder(tmp_path):
    """Three pictures: one captioned beside it, one in a JSONL table, one in a CSV table."""
    root = tmp_path / "pictures"
    draw(root / "a.png", 10).with_suffix(".txt").write_text("a dark square\n")
    draw(root / "b" / "b.png", 100)
    draw(root / "c.PNG", 250)
    row = {"file_name": "b/b.png", "caption": "a gray square"}
    (root / "captions.jsonl").write_text(json.dumps(row) + "\n\n")
    (root / "metadata.csv").write_text('file_name,text\nc.PNG,"a white square, bright"\n')
    return root


def test_captions_come_from_every_place(make_task, folder):
    samples = list(make_task("cc12m", path=folder).samples())
    assert {s.inputs["picture"]: s.inputs["caption"] for s in samples} == {
        "a.png": "a dark square",
        "b/b.png": "a gray square",
        "c.PNG": "a white square, bright",
    }


def test_predicting_nothing_is_chance(make_task, context, folder):
    run = run_task(make_task("cc12m", path=folder), ConstantFlow(), context)
    metric = run.metrics["flow_loss"]
    assert metric.value == metric.chance
    assert metric.interval[0] <= metric.chance <= metric.interval[1]
    assert (metric.n, metric.facts["clusters"]) == (30, 3)


def test_time_and_noise_are_fixed_per_picture(make_task, context, folder):
    models = ConstantFlow(), ConstantFlow()
    for model, (seed, batch_size) in zip(models, [(0, 7), (1, 30)], strict=True):
        run_task(make_task("cc12m", path=folder), model, context, seed=seed, batch_size=batch_size)
    asked = [
        {(r.sample_id, r.repeat): (r.u, r.seed, r.caption) for r in model.seen} for model in models
    ]
    assert asked[0] == asked[1]
    assert sorted({u for u, _, _ in asked[0].values()}) == pytest.approx(np.arange(10) / 10 + 0.05)
    assert len({seed for _, seed, _ in asked[0].values()}) == 30


def test_the_curve_over_time_holds_every_loss(make_task, context, folder):
    run = run_task(make_task("cc12m", path=folder), ConstantFlow(better=0.5), context)
    rows = run.metrics["flow_loss"].facts["by_time"]
    assert len(rows) == 10
    assert sum(row["n"] * row["loss"] for row in rows) / 30 == pytest.approx(
        run.metrics["flow_loss"].value
    )
    assert all(row["loss"] == pytest.approx(row["blank"] / 2) for row in rows)
    assert all(row["low"] <= row["loss"] <= row["high"] for row in rows)
    assert by_time([]) == []


def test_the_same_pictures_elsewhere_are_the_same_protocol(make_task, folder, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    one = make_task("cc12m", path=moved)
    before = one.protocol_hash({"path": str(moved)})
    moved.rename(folder)
    assert make_task("cc12m", path=folder).protocol_hash({"path": str(folder)}) == before
    (folder / "a.txt").write_text("another caption")
    assert make_task("cc12m", path=folder).protocol_hash({"path": str(folder)}) != before


def test_photographs_of_scikit_learn(make_task, context, tmp_path):
    from sklearn.datasets import load_sample_images

    found = load_sample_images()
    for name, array in zip(("china", "flower"), found.images, strict=True):
        Image.fromarray(array).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text(f"a photograph of {name}")
    run = run_task(make_task("cc12m", path=tmp_path), ConstantFlow(), context)
    assert run.metrics["flow_loss"].n == 20
    exhibits = [
        task.exhibit(*row)
        for task in [make_task("cc12m", path=tmp_path)]
        for row in zip(run.samples, run.outputs, run.scores, strict=True)
    ]
    shown = [exhibit for exhibit in exhibits if exhibit is not None]
    assert [exhibit.prompt for exhibit in shown] == [
        "a photograph of china",
        "a photograph of flower",
    ]
    assert shown[0].shown["picture"].load().shape == (427, 640, 3)


def test_pictures_without_captions_are_named(make_task, tmp_path):
    for i in range(7):
        draw(tmp_path / f"{i}.png")
    (tmp_path / "3.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"7 pictures have no caption: 0.png.*4.png, and 2 more"):
        make_task("cc12m", path=tmp_path).check()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no picture", r"a.png: not a picture"),
        ("a.png", encode_png(np.zeros((64, 64, 3), np.uint8))[:-30], r"a.png: not a picture"),
        ("a.txt", b"\xff", r"a.txt is not UTF-8 text \(byte 0\)"),
        ("captions.jsonl", b'{"file_name"', r"captions.jsonl, line 1: not JSON"),
        ("captions.jsonl", b'\n{"file_name": "a.png"}', r"line 2: not a file_name with a caption"),
        ("captions.jsonl", b"[]", r"line 1: not a file_name with a caption"),
        (
            "captions.jsonl",
            b'{"file_name": "x.png", "caption": "c"}',
            r"not there: x.png",
        ),
    ],
)
def test_what_cannot_be_used_is_named(make_task, folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        make_task("cc12m", path=folder).check()


def test_gigantic_pictures_are_refused_before_they_are_decoded(make_task, folder):
    Image.new("1", (10_000, 6_000)).save(folder / "a.png")
    with pytest.raises(UserError, match=r"a.png: 10000x6000 pixels, more than"):
        make_task("cc12m", path=folder).check()


def test_missing_folders_are_named(make_task, tmp_path):
    with pytest.raises(UserError, match="needs pictures"):
        make_task("cc12m").check()
    with pytest.raises(UserError, match="is not a folder"):
        make_task("cc12m", path=tmp_path / "nowhere").check()
    with pytest.raises(UserError, match="holds no pictures"):
        make_task("cc12m", path=tmp_path).check()


def test_a_picture_that_breaks_during_the_run_is_unscored(make_task, context, folder):
    class Vandal(ConstantFlow):
        def flow_losses(self, requests):
            (folder / "c.PNG").write_bytes(b"gone")
            return super().flow_losses(requests)

    run = run_task(make_task("cc12m", path=folder), Vandal(), context, batch_size=20)
    metric = run.metrics["flow_loss"]
    assert (metric.n, metric.unscored) == (20, 10)
    assert all("not a picture" in score.unscored for score in run.scores[20:])


def test_losses_that_are_not_finite_are_unscored(make_task, context, folder):
    run = run_task(make_task("cc12m", path=folder), ConstantFlow(better=np.nan), context)
    assert run.metrics == {}
    assert all(score.unscored for score in run.scores)


# --- mini ---------------------------------------------------------------------------------------


def test_mini_draws_what_its_card_says(make_task):
    samples = list(make_task("cc12m:mini").samples())
    assert Counter(sample.inputs["held_out"] for sample in samples) == {False: 192, True: 64}
    assert {sample.repeats for sample in samples} == {10}


def test_mini_reports_held_out_pictures_apart(make_task, context):
    run = run_task(
        make_task("cc12m:mini", pictures=6, held_out_pictures=3), ConstantFlow(), context
    )
    assert [(metric.name, metric.n) for metric in run.metrics.values()] == [
        ("flow_loss", 60),
        ("flow_loss_held_out", 30),
    ]
    assert all(metric.value == metric.chance for metric in run.metrics.values())
    assert run.samples[0].inputs["caption"]
