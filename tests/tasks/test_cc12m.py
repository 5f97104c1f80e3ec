"""`cc12m`: pictures and captions of the user, and of the world, at fixed (t, noise)."""

import io
import json
import re
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from task_runs import ConstantFlow, run_task

from unimm_eval.api import UserError, encode_png
from unimm_eval.data import files_of
from unimm_eval.engine.compare import compare_loaded
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.engine.load import load_run
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
    with pytest.raises(
        UserError, match=r"(?s)no picture.*0.png: has no caption.*4.png: has no caption.*and 2 more"
    ):
        make_task("cc12m", path=tmp_path).check()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no picture", r"a.png: not a picture"),
        ("a.png", encode_png(np.zeros((64, 64, 3), np.uint8))[:-30], r"a.png: not a picture"),
        ("a.txt", b"\xff", r"a.png: a.txt is not UTF-8 text \(byte 0\)"),
        ("a.txt", b" ", r"a.png: has no caption"),
        (
            "captions.jsonl",
            b'{"file_name": "x.png", "caption": "c"}\n{"file_name": "b/b.png", "caption": "c"}',
            r"x.png: has a caption and is not there",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_is_measured(
    make_task, context, folder, name, content, message
):
    sound = 3 - (name != "captions.jsonl")
    (folder / name).write_bytes(content)
    run = run_task(make_task("cc12m", path=folder), ConstantFlow(), context)
    metric = run.metrics["flow_loss"]
    assert (metric.n, metric.unscored) == (10 * sound, 10)
    told = {score.unscored for score in run.scores if score.unscored}
    assert len(told) == 1
    assert re.match(message, told.pop())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file_name"', r"captions.jsonl, line 1: not JSON"),
        (b'\n{"file_name": "a.png"}', r"line 2: not a file_name with a caption"),
        (b"[]", r"line 1: not a file_name with a caption"),
    ],
)
def test_tables_that_cannot_be_read_are_named(make_task, folder, content, message):
    (folder / "captions.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        make_task("cc12m", path=folder).check()


def test_gigantic_pictures_are_refused_before_they_are_decoded(make_task, context, folder):
    Image.new("1", (10_000, 6_000)).save(folder / "a.png")
    run = run_task(make_task("cc12m", path=folder), ConstantFlow(), context)
    assert run.metrics["flow_loss"].unscored == 10
    assert run.scores[0].unscored.startswith("a.png: 10000x6000 pixels, more than")


def test_missing_folders_are_named(make_task, tmp_path):
    with pytest.raises(UserError, match=r"(?s)is missing.*unimm-eval data fetch cc12m"):
        make_task("cc12m").check()
    with pytest.raises(UserError, match="is not a folder"):
        make_task("cc12m", path=tmp_path / "nowhere").check()
    with pytest.raises(UserError, match=r"nowhere.tar is no file"):
        make_task("cc12m", path=tmp_path / "nowhere.tar").check()
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


# --- shards -------------------------------------------------------------------------------------


def picture_bytes(shade, size=16):
    return encode_png(np.full((size, size, 3), shade, np.uint8))


def tar(path, *members):
    """A tar of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as made:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def webdataset(path, count, *, start=0):
    return tar(
        path,
        *(
            member
            for i in range(start, start + count)
            for member in (
                (f"{i:06d}.png", picture_bytes(i)),
                (f"{i:06d}.json", json.dumps({"caption": "not this one"}).encode()),
                (f"{i:06d}.txt", f"shade {i}\n".encode()),
            )
        ),
    )


def test_the_pinned_shard_is_read_from_the_data_folder(make_task, context, tmp_path):
    task = make_task("cc12m", pictures=5)
    (file,) = files_of(task.card)
    assert file.url.endswith(task.card.data["shard"])
    webdataset(file.path(tmp_path), 8)
    model = ConstantFlow()
    run = run_task(task, model, context)
    assert run.metrics["flow_loss"].n == 50
    assert [sample.inputs["caption"] for sample in run.samples[::10]] == [
        f"shade {i}" for i in range(5)
    ]
    seen = {(r.caption, int(r.picture.load()[0, 0, 0])) for r in model.seen}
    assert seen == {(f"shade {i}", i) for i in range(5)}


def test_a_shard_that_is_not_the_one_of_the_first_fetch_is_refused(make_task, tmp_path):
    task = make_task("cc12m")
    (file,) = files_of(task.card)
    webdataset(file.path(tmp_path), 2)
    file.record(tmp_path).write_text("0" * 64 + "  shard\n")
    with pytest.raises(UserError, match=r"has SHA-256 [0-9a-f]{64} instead of 0{64}"):
        task.check()


def test_shards_and_the_folder_they_were_unpacked_to_are_one_protocol(make_task, tmp_path):
    one = webdataset(tmp_path / "one.tar", 4)
    webdataset(tmp_path / "two" / "a.tar", 2)
    webdataset(tmp_path / "two" / "b.tar", 2, start=2)
    with tarfile.open(one) as made:
        made.extractall(tmp_path / "three", filter="data")
    hashes = {
        make_task("cc12m", path=path).protocol_hash({"path": str(path)})
        for path in (one, tmp_path / "two", tmp_path / "three")
    }
    assert len(hashes) == 1
    fewer = make_task("cc12m", path=one, pictures=3)
    assert fewer.protocol_hash({"pictures": 3}) not in hashes


def test_faults_of_a_shard_are_named_and_the_rest_is_measured(make_task, context, tmp_path):
    path = tar(
        tmp_path / "a.tar",
        ("a/good.png", picture_bytes(1)),
        ("a/good.txt", b"a good one"),
        ("a/alone.txt", b"a caption"),
        ("a/silent.png", picture_bytes(2)),
        ("a/latin.png", picture_bytes(3)),
        ("a/latin.txt", b"\xff"),
        ("a/broken.jpg", b"no picture"),
        ("a/broken.txt", b"a caption"),
        ("a/other.png", picture_bytes(4)),
        ("a/other.json", b'{"caption": "told in JSON"}'),
        ("a/wrong.png", picture_bytes(5)),
        ("a/wrong.json", b"[" * 100_000),
    )
    run = run_task(make_task("cc12m", path=path), ConstantFlow(), context)
    metric = run.metrics["flow_loss"]
    assert (metric.n, metric.unscored) == (20, 50)
    told = list(dict.fromkeys(score.unscored for score in run.scores if score.unscored))
    assert [text.split(" (")[0] for text in told] == [
        "a/alone: a caption without a picture",
        "a/silent.png: has no caption",
        "a/latin.png: its caption is not UTF-8 text",
        "a/broken.jpg: not a picture that can be decoded",
        "a/wrong.png: its caption is not JSON",
    ]
    task = make_task("cc12m", path=path)
    notes = [
        exhibit.note
        for row in zip(run.samples, run.outputs, run.scores, strict=True)
        if (exhibit := task.exhibit(*row)) is not None
    ]
    assert notes == ["", *told[:4], "", told[4]]


@pytest.mark.parametrize("cut", [0.5, 0.83])
def test_a_shard_that_ends_early_is_measured_as_far_as_it_goes(make_task, context, tmp_path, cut):
    path = webdataset(tmp_path / "a.tar", 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut) // 512 * 512 + 700])
    run = run_task(make_task("cc12m", path=path), ConstantFlow(), context)
    metric = run.metrics["flow_loss"]
    assert 100 < metric.n < 300
    assert metric.unscored == 10
    assert re.match(
        rf"a.tar ends early, behind picture {metric.n // 10}: ", run.scores[-1].unscored
    )


def test_files_that_are_no_shards_are_named(make_task, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar at all")
    with pytest.raises(UserError, match="ends early, behind picture 0"):
        make_task("cc12m", path=tmp_path / "a.tar").check()
    with pytest.raises(UserError, match="no pictures are in it"):
        make_task("cc12m", path=tar(tmp_path / "a.tar")).check()


def test_a_shard_that_changes_during_the_run_is_unscored(make_task, context, tmp_path):
    path = webdataset(tmp_path / "a.tar", 2)

    class Vandal(ConstantFlow):
        def flow_losses(self, requests):
            webdataset(path, 2, start=7)
            return super().flow_losses(requests)

    run = run_task(make_task("cc12m", path=path), Vandal(), context, batch_size=10)
    assert (run.metrics["flow_loss"].n, run.metrics["flow_loss"].unscored) == (10, 10)
    assert "a.tar has changed since this run began" in run.scores[-1].unscored


class InLatents(ConstantFlow):
    """Says what its latents are, or nothing."""

    name = "flow"

    def __init__(self, latents, *, better=1.0):
        super().__init__(better=better)
        self._latents = latents
        self.fingerprint = f"{latents} {better}"

    def describe(self):
        return {} if self._latents is None else {"latents": self._latents}


def test_different_encoders_never_share_a_column(make_task, tmp_path):
    path = webdataset(tmp_path / "a.tar", 2)
    models = {
        "one": InLatents("siglip2"),
        "same": InLatents("siglip2", better=0.9),
        "other": InLatents("sd-vae"),
        "silent": InLatents(None),
    }
    columns = {}
    for name, model in models.items():
        task = make_task("cc12m", path=path, times=2)
        record = evaluate(model, [task], output=tmp_path / name)
        columns[name] = record.get("cc12m").protocol_hash
        assert record.run.tasks["cc12m"]["protocol_hash"] == columns[name]
    assert columns["one"] == columns["same"]
    assert len(set(columns.values())) == 3
    runs = [load_run(tmp_path / name, tasks=[task]) for name in ("one", "same", "other")]
    assert not compare_loaded(runs[0], runs[1]).refused
    (refused,) = compare_loaded(runs[0], runs[2]).refused
    assert "unit" in refused.fields[0]


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
