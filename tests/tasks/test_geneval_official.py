"""`geneval`: prompts, the whole path with real classes on tiny weights, folders in and out."""

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_judges import save_clip, save_mask2former

from unimm_eval import evaluate
from unimm_eval.api import IncompleteError, Item, Output, Picture, Score, UserError
from unimm_eval.judges.mask2former import COCO_CLASSES
from unimm_eval.tasks.geneval import TAGS, judging
from unimm_eval.tasks.geneval.prompts import FILE, OBJECT_NAMES, difference, generate

DATA = os.environ.get("UNIMM_EVAL_TEST_DATA")
needs_data = pytest.mark.skipif(
    not DATA, reason="UNIMM_EVAL_TEST_DATA names no folder with the benchmark's files"
)
PROMPTS = [json.loads(line) for line in generate().splitlines()]
FIRST = [next(index for index, row in enumerate(PROMPTS) if row["tag"] == tag) for tag in TAGS]
"""The first prompt of each tag: what a limit of six takes."""


def coco(name):
    return COCO_CLASSES[OBJECT_NAMES.index(name)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A data folder whose detector sees the things of the first single and colour prompts."""
    folder = tmp_path_factory.mktemp("data")
    sees = [coco(PROMPTS[FIRST[n]]["include"][0]["class"]) for n in (0, 3)]
    for name in ("mask2former-official", "mask2former-hf"):
        save_mask2former(folder / "judges" / name, sees=sees, seed=len(name))
    save_clip(folder / "judges" / "clip-vit-l-14-openai")
    return folder


class Painter:
    """Stripes in colours of the seed; small, so that the detector has little to do."""

    name, fingerprint = "painter", "painter"

    def describe(self):
        return {}

    def generate_images(self, requests):
        return [self.paint(request.seed) for request in requests]

    def paint(self, seed):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (2, 8, 3), dtype=np.uint8).repeat(6, 0).repeat(12, 1)


def measure(model, folder, weights, *, images=1, **settings):
    return evaluate(
        model,
        "geneval",
        limit=6,
        output=folder,
        data_dir=weights,
        device="cpu",
        settings={"geneval": {"images_per_prompt": images, **settings}},
    )


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return measure(Painter(), folder, weights, judge_batch_size=4), folder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_generator_makes_the_553_prompts():
    assert Counter(row["tag"] for row in PROMPTS) == {
        "single_object": 80,
        "two_object": 99,
        "counting": 80,
        "colors": 94,
        "position": 100,
        "color_attr": 100,
    }
    assert len({row["prompt"] for row in PROMPTS}) == 553
    counts = Counter(row["include"][0]["count"] for row in PROMPTS if row["tag"] == "counting")
    assert counts == {2: 26, 3: 28, 4: 26}
    text = "\n".join(row["prompt"] for row in PROMPTS)
    assert re.search(r"benchs|knifes|sheeps|persons", text)
    assert not re.search(r"(red|white|black|pink) person", text)


@needs_data
def test_the_generator_makes_the_real_file_byte_for_byte():
    real = Path(DATA, FILE).read_bytes()
    assert generate().encode() == real
    assert Path(DATA, "geneval/object_names.txt").read_text().split("\n")[:80] == list(OBJECT_NAMES)


def test_a_file_of_other_prompts_is_refused(make_task, tmp_path):
    pinned = tmp_path / FILE
    pinned.parent.mkdir()
    pinned.write_text(generate())
    task = make_task("geneval")
    assert len(list(task.samples())) == 553
    assert {sample.repeats for sample in task.samples()} == {4}
    pinned.write_text(generate().replace("bench", "table", 1))
    with pytest.raises(UserError, match="SHA-256"):
        list(make_task("geneval").samples())


def test_other_random_numbers_are_noticed(make_task, monkeypatch):
    monkeypatch.setattr("unimm_eval.tasks.geneval.prompts._SEED", 44)
    with pytest.raises(UserError, match="draws other prompts") as caught:
        list(make_task("geneval").samples())
    assert "unimm-eval data fetch geneval" in caught.value.fix


def test_everything_missing_is_told_at_once(make_task, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args: None)
    with pytest.raises(UserError) as caught:
        make_task("geneval").check()
    assert "mask2former-official" in caught.value.what
    assert "clip-vit-l-14-openai" in caught.value.what
    assert "python -m unimm_eval.judges.mask2former_mmdet" in caught.value.fix
    assert "1.7 GB" in caught.value.fix


def test_the_whole_path_gives_a_record(run):
    record, _ = run
    rows = {row.metric: row for row in record.results}
    assert list(rows) == ["overall", *TAGS, "images", "prompts"]
    assert all(row.unscored == 0 and row.limited for row in rows.values())
    assert rows["overall"].value == pytest.approx(sum(rows[tag].value for tag in TAGS) / 6)
    assert rows["single_object"].value == 1.0
    assert rows["counting"].value == rows["position"].value == 0.0
    assert (rows["images"].n, rows["prompts"].n) == (6, 6)
    assert rows["overall"].facts["detector"] == "mask2former-official (unverified)"
    assert "mask2former-official (unverified)" in record.run.tasks["geneval"]["judge"]


def test_rows_are_as_in_the_official_results(run):
    _, folder = run
    rows = {row["filename"]: row for row in lines(folder / "exports/geneval/results.jsonl")}
    assert set(rows) == {f"{index:05d}/samples/00000.png" for index in FIRST}
    for index in FIRST:
        row = rows[f"{index:05d}/samples/00000.png"]
        fields = ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
        assert list(row) == fields
        assert json.loads(row["metadata"]) == PROMPTS[index]
        assert row["metadata"] == json.dumps(PROMPTS[index])
        assert row["correct"] == (row["reason"] == "")
        least = 0.9 if row["tag"] == "counting" else 0.3
        for name, boxes in json.loads(row["details"]).items():
            assert name in OBJECT_NAMES
            assert len(boxes) <= 16
            assert all(len(box) == 5 and box[4] > least for box in boxes)
            assert boxes == sorted(boxes, key=lambda box: -box[4])
    colored = rows[f"{FIRST[3]:05d}/samples/00000.png"]
    assert colored["correct"] or re.fullmatch(r"expected \w+ .+, saw \w+", colored["reason"])


def test_exported_folders_score_the_same_when_read_again(run, weights, tmp_path):
    record, folder = run
    exported = folder / "exports/geneval"
    for index in FIRST:
        place = exported / f"{index:05d}"
        assert (place / "metadata.jsonl").read_text() == json.dumps(PROMPTS[index])
        assert [path.name for path in (place / "samples").iterdir()] == ["00000.png"]
    again = measure(f"images:{exported}", tmp_path / "again", weights, judge_batch_size=2)
    for before, after in zip(record.results, again.results, strict=True):
        assert before.model_dump() == after.model_dump()
    twice = tmp_path / "again/exports/geneval/results.jsonl"
    for before, after in zip(lines(exported / "results.jsonl"), lines(twice), strict=True):
        boxes = [json.loads(row.pop("details")) for row in (before, after)]
        assert before == after
        assert set(boxes[0]) == set(boxes[1])
        for name in boxes[0]:
            np.testing.assert_allclose(boxes[0][name], boxes[1][name], atol=1e-4)


def test_bad_folders_are_reported_by_sample_and_never_dropped(run, weights, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(run[1] / "exports/geneval", pictures)
    names = [pictures / f"{index:05d}" for index in FIRST]
    shutil.rmtree(names[0])
    whole = (names[1] / "samples/00000.png").read_bytes()
    (names[1] / "samples/00000.png").write_bytes(whole[: len(whole) // 2])
    (names[2] / "samples/00000.png").write_text("not a picture")
    (names[3] / "metadata.jsonl").write_text(json.dumps(PROMPTS[FIRST[0]]))
    shutil.copy(names[4] / "samples/00000.png", names[4] / "samples/0000.png")
    record = measure(f"images:{pictures}", tmp_path / "run", weights)
    reasons = {
        row["filename"][:5]: row["unscored"]
        for row in lines(tmp_path / "run/exports/geneval/unscored.jsonl")
    }
    key = [name.name for name in names]
    assert "missing" in reasons[key[0]]
    assert "not a picture" in reasons[key[1]]
    assert "not a picture" in reasons[key[2]]
    assert "made for another prompt" in reasons[key[3]]
    assert "2 times" in reasons[key[4]]
    assert set(reasons) == set(key[:5])
    rows = {row.metric: row for row in record.results}
    assert list(rows) == ["color_attr", "images", "prompts"]
    assert (rows["images"].n, rows["images"].unscored) == (1, 5)
    assert rows["images"].facts["missing_tags"] == [tag for tag in TAGS if tag != "color_attr"]


@needs_data
def test_the_whole_path_on_the_real_file_is_the_same(run, weights, tmp_path):
    shutil.copytree(weights, tmp_path / "data", copy_function=os.link)
    (tmp_path / "data/geneval").mkdir()
    shutil.copy(Path(DATA, FILE), tmp_path / "data" / FILE)
    record = measure(Painter(), tmp_path / "run", tmp_path / "data", judge_batch_size=4)
    assert record.results == run[0].results


def test_detectors_and_weights_have_hashes_of_their_own(make_task, weights, tmp_path):
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    official, hub = (
        make_task("geneval", detector=f"mask2former-{name}") for name in ("official", "hf")
    )
    first = official.protocol_hash({})
    assert first != hub.protocol_hash({"detector": "mask2former-hf"})
    assert first == make_task("geneval", judge_batch_size=1).protocol_hash({"judge_batch_size": 1})
    assert first == make_task("geneval").protocol_hash({"num_inference_steps": 9})
    assert first != official.protocol_hash({"images_per_prompt": 1})
    save_clip(tmp_path / "judges/clip-vit-l-14-openai", seed=5)
    assert first != make_task("geneval").protocol_hash({})


def test_generation_settings_are_part_of_an_output(make_task):
    task = make_task("geneval", num_inference_steps=50, guidance_scale=9)
    expected = {"num_inference_steps": 50, "guidance_scale": 9.0, "solver": "euler"}
    assert task.generation() == expected


def test_differences_of_metadata_are_named():
    inputs = {"key": "00000", **PROMPTS[0]}
    assert difference(PROMPTS[0], inputs) == ""
    assert difference({**PROMPTS[0], "prompt": "x"}, inputs).startswith('prompt: "x" instead of')
    assert difference([], inputs) == "it is not a table"
    assert "extra" in difference({**PROMPTS[0], "extra": 1}, inputs)


def test_the_aggregation_is_the_mean_of_tags_with_prompts_as_clusters(make_task):
    task = make_task("geneval")
    rows = [(sample, repeat) for sample in task.samples() for repeat in range(4)]
    scores = [
        Score(
            sample_id=sample.id,
            repeat=repeat,
            values={"correct": float(sample.inputs["tag"] == "colors" or repeat == 1)},
        )
        for sample, repeat in rows
    ]
    found = {m.name: m for m in task.summarize([sample for sample, _ in rows], scores)}
    assert found["overall"].value == pytest.approx((1 + 5 * 0.25) / 6)
    assert found["images"].value == pytest.approx((94 + 459 * 0.25) / 553)
    assert found["prompts"].value == 1.0
    assert found["overall"].facts["clusters"] == 553
    assert found["position"].facts["clusters"] == 100
    assert found["position"].n == 400


def test_references_are_metrics_of_the_card(make_task):
    card = make_task("geneval").card
    by_model = {}
    for row in card.references:
        assert row.metric in card.metrics
        by_model.setdefault(row.model, {})[row.metric] = row.value
    for values in by_model.values():  # the published overall is the mean of the published tags
        assert values["overall"] == pytest.approx(sum(values[tag] for tag in TAGS) / 6, abs=0.011)


def test_a_judge_without_room_or_place_is_told(make_task, weights, tmp_path):
    import torch

    class Full:
        def verdicts(self, pictures, metadata):
            raise torch.OutOfMemoryError("CUDA out of memory")

    sample = next(iter(make_task("geneval").samples()))
    output = Output(sample_id=sample.id, media={"picture": Unread((8, 8))})
    with pytest.raises(IncompleteError, match="1 pictures at once") as caught:
        list(judging.scores([sample], [output], Full(), batch_size=8))
    assert "judge_batch_size=1" in caught.value.fix
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    make_task("geneval", judge_device="cpu").check()
    with pytest.raises(UserError, match="no device 'toaster'"):
        make_task("geneval", judge_device="toaster").check()


class Unread:
    """A picture that counts how many were read."""

    read = 0

    def __init__(self, size):
        self.size = size

    def load(self):
        Unread.read += 1
        return np.zeros((*self.size, 3), np.uint8)


class Counting:
    """A judge that says how many pictures had been read when it saw a batch."""

    def __init__(self):
        self.batches, self.held = [], []

    def verdicts(self, pictures, metadata):
        assert len({picture.shape for picture in pictures}) == 1
        self.batches.append(len(pictures))
        self.held.append(Unread.read - sum(self.batches[:-1]))
        return [judging.Verdict(correct=True, reason="", details={}) for _ in pictures]


def test_pictures_are_judged_in_batches_of_one_size_and_few_are_held(make_task):
    task = make_task("geneval")
    samples = list(task.samples())[:200]
    outputs = [
        Output(sample_id=sample.id, media={"picture": Unread((8, 8) if n < 150 else (8, 9))})
        for n, sample in enumerate(samples)
    ]
    outputs[7] = Output(sample_id=samples[7].id, error="none was made")
    judge = Counting()
    Unread.read = 0
    found = list(judging.scores(samples, outputs, judge, batch_size=8))
    assert {score.sample_id for score in found} == {sample.id for sample in samples}
    assert [score.unscored for score in found if score.unscored] == ["none was made"]
    assert judge.batches == [8] * 18 + [5] + [8] * 6 + [2]
    assert max(judge.held) <= 3 * 8 + 1


def test_the_more_certain_of_two_equal_boxes_is_coloured():
    import torch

    from unimm_eval.judges.mask2former import DetectedObject

    class Two:
        def detect(self, pictures, *, floor):
            masks = (torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool))
            return [
                [
                    DetectedObject(label=2, box=(0, 0, 2, 2), score=score, mask=mask)
                    for score, mask in zip((0.5, 0.8), masks, strict=True)
                ]
            ]

    class Shown:
        def classify(self, crops):
            ((self.name, self.crop),) = crops
            return ["red"]

    shown = Shown()
    picture = np.full((2, 2, 3), 7, np.uint8)
    include = [{"class": "car", "count": 1, "color": "red"}]
    (verdict,) = judging.PictureJudge(detector=Two(), colors=shown).verdicts(
        [picture], [{"tag": "colors", "include": include, "prompt": ""}]
    )
    assert verdict.correct
    assert shown.name == "car"
    assert (shown.crop == 7).all()


def test_a_picture_made_for_another_prompt_is_not_asked_for(make_task):
    task = make_task("geneval")
    sample = next(iter(task.samples()))

    class Annotated(Painter):
        def metadata_of(self, key):
            return None if key == sample.inputs["key"] else {"prompt": "another"}

    others = list(task.samples())[1:3]
    items = [Item(sample=each, repeat=0, seed=1) for each in (sample, *others)]
    found = {output.sample_id: output for output in task.produce(Annotated(), items, None)}
    assert isinstance(found[sample.id].media["picture"], Picture)
    for other in others:
        assert "made for another prompt" in found[other.id].error


def test_sixteen_bit_and_transparent_pictures_are_read_as_colours(weights, tmp_path):
    folder = tmp_path / "pictures"
    for number, mode in zip(FIRST, ("RGBA", "L", "P", "1", "LA", "RGB"), strict=True):
        place = folder / f"{number:05d}" / "samples"
        place.mkdir(parents=True)
        Image.new(mode, (96, 12)).save(place / "0000.png")
    record = measure(f"images:{folder}", tmp_path / "run", weights)
    assert record.get("geneval", "images").n == 6
