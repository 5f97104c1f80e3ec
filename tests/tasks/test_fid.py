"""`fid`: the whole path on a small network of random weights, in the three libraries' classes."""

import hashlib
import json
import shutil
import weakref

import numpy as np
import pytest
import torch
from tiny_judges import save_clip

from unimm_eval import evaluate
from unimm_eval.api import Card, IncompleteError, Output, Picture, Score, UserError, encode_png
from unimm_eval.judges.inception import DEFINITIONS, Inception
from unimm_eval.tasks.fid import Fid
from unimm_eval.tasks.fid.frechet import frechet_distance, statistics_of

FEATURES = 6  # of the small network; Inception's 2,048 would take a minute a distance


class Layers(torch.nn.Module):
    """In the place of the TorchScript file of clean-fid."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 8, stride=8),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(32, FEATURES),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def save_alexnet(path):
    """The part of torchvision's AlexNet that LPIPS uses."""
    from torchvision.models import alexnet

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    whole = alexnet(weights=None).state_dict()
    torch.save({name: row for name, row in whole.items() if name.startswith("features.")}, path)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    path = folder / DEFINITIONS["clean"].file
    path.parent.mkdir(parents=True)
    torch.jit.save(torch.jit.script(Layers()), path)
    save_alexnet(folder / "judges/lpips/alexnet-owt-7be5be79.pth")
    save_clip(folder / "judges/clip-vit-l-14-openai")
    return folder


@pytest.fixture
def data(weights, tmp_path):
    """A data folder of the test's own."""
    return shutil.copytree(weights, tmp_path / "data")


def paint(number, size=(32, 36)):
    rng = np.random.default_rng(number)
    return (
        rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        .repeat(size[0] // 4, 0)
        .repeat(size[1] // 4, 1)
    )


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of different sizes with captions."""
    root = tmp_path / "coco"
    root.mkdir()
    for number in range(10):
        size = (20 + 4 * (number % 3), 24)
        (root / f"{number:04d}.png").write_bytes(encode_png(paint(number, size)))
        (root / f"{number:04d}.txt").write_text(f"caption {number}")
    return root


class Painter:
    name, fingerprint = "painter", "painter"

    def describe(self):
        return {}

    def generate_images(self, requests):
        return [paint(request.seed % 2**32) for request in requests]


def make(data, folder, *, task_class=Fid, **settings):
    """The task, its card pinning the weights that there are."""
    from unimm_eval.engine.registry import task_entries

    entry = task_entries()["fid"]
    card = entry.card.model_dump()
    for file in card["data"]["files"]:
        path = data / file["name"]
        if path.exists():
            file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        file.pop("size", None)
    config = Fid.Config(
        **{
            "path": folder,
            "allow_small": True,
            "images_per_prompt": 2,
            "bootstrap_resamples": 20,
            "judge_batch_size": 4,
            "clip_score": False,
            "lpips_diversity": False,
            **settings,
        }
    )
    return task_class(Card.model_validate(card), config, data_dir=data)


WITH_ALL = {"clip_score": True, "lpips_diversity": True}


def measure(data, folder, output, model=None, **settings):
    task = make(data, folder, **settings)
    return evaluate(model or Painter(), [task], output=output, data_dir=data, device="cpu")


@pytest.fixture
def record(data, folder, tmp_path):
    return measure(data, folder, tmp_path / "run", **WITH_ALL)


def test_the_whole_path(record, data, folder, tmp_path):
    """Distance, CLIPScore and LPIPS equal what is computed beside the engine."""
    fid, clip, lpips = record.results
    assert (fid.metric, clip.metric, lpips.metric) == ("fid", "clip_score", "lpips_diversity")
    assert fid.n == clip.n == lpips.n == 20
    assert fid.facts["definition"] == "clean-fid (bicubic, antialiased)"
    assert fid.facts["clusters"] == fid.facts["reference_pictures"] == 10
    assert fid.interval[0] <= fid.value <= fid.interval[1]
    pictures = [Picture(path=path).load() for path in (tmp_path / "run/media").glob("*/*.png")]
    references = [Picture(path=path).load() for path in folder.glob("*.png")]
    inception = Inception(
        DEFINITIONS["clean"], data / DEFINITIONS["clean"].file, device="cpu", batch_size=4
    )
    alone = [statistics_of(inception.features(found)) for found in (pictures, references)]
    assert fid.value == pytest.approx(frechet_distance(*alone), rel=1e-6)
    assert -100 <= clip.value <= 100
    assert lpips.value > 0


def test_a_pictures_own_folder_is_no_distance_away(data, folder, tmp_path):
    """The reference pictures themselves, read as somebody's pictures."""
    record = measure(
        data, folder, tmp_path / "run", f"images:{folder}", images_per_prompt=1, **WITH_ALL
    )
    assert record.get("fid").value == pytest.approx(0.0, abs=1e-9)
    assert record.get("fid").facts["lpips_diversity"] == "absent: there is one picture a caption"


def test_statistics_of_the_reference_are_made_once_and_by_content(data, folder, tmp_path):
    first = measure(data, folder, tmp_path / "one")
    (kept,) = (data / "fid").iterdir()
    written = kept.stat().st_mtime_ns
    moved = folder.rename(tmp_path / "elsewhere")
    assert measure(data, moved, tmp_path / "two").results == first.results
    assert (kept.stat().st_mtime_ns, len(list((data / "fid").iterdir()))) == (written, 1)
    kept.write_bytes(kept.read_bytes()[:100])  # a copy cut short
    assert measure(data, moved, tmp_path / "three").results == first.results
    (moved / "0003.png").write_bytes(encode_png(paint(77)))
    assert measure(data, moved, tmp_path / "four").get("fid").value != first.get("fid").value
    assert len(list((data / "fid").iterdir())) == 2


class Interrupted(Fid):
    """Stopped by its user after `after` scores."""

    after = 0

    def judge(self, samples, outputs):
        for number, score in enumerate(super().judge(samples, outputs)):
            if number == self.after:
                raise KeyboardInterrupt
            yield score


@pytest.mark.parametrize("after", [3, 14])
def test_a_run_gone_on_with_equals_one_never_stopped(record, data, folder, tmp_path, after):
    output = tmp_path / "stopped"
    task_class = type("Interrupted", (Interrupted,), {"after": after})
    with pytest.raises(IncompleteError):
        measure(data, folder, output, task_class=task_class, **WITH_ALL)
    assert measure(data, folder, output, **WITH_ALL).results == record.results


def judged(task, count=10):
    samples, outputs = [], []
    for sample in task.samples():
        for repeat in range(sample.repeats):
            samples.append(sample)
            picture = Picture(array=paint(len(samples)))
            outputs.append(Output(sample_id=sample.id, repeat=repeat, media={"picture": picture}))
    return samples, list(task.judge(samples, outputs))


def test_order_does_not_matter(data, folder):
    task = make(data, folder)
    samples, scores = judged(task)
    turn = np.random.default_rng(0).permutation(len(samples))
    before = task.summarize(samples, scores)
    after = task.summarize([samples[i] for i in turn], [scores[i] for i in turn])
    for one, other in zip(before, after, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.interval == pytest.approx(other.interval, rel=1e-9)


def test_pictures_are_held_a_few_at_a_time(data, folder):
    class Watched(Picture):
        def load(self):
            nonlocal most
            array = super().load().copy()
            alive.add(Held(array))
            most = max(most, len(alive))
            return array

    class Held:
        def __init__(self, array):
            weakref.finalize(array, alive.discard, self)

    alive, most = set(), 0
    task = make(data, folder)
    samples = [sample for sample in task.samples() for _ in range(2)] * 4
    outputs = (
        Output(sample_id=s.id, repeat=i % 2, media={"picture": Watched(array=paint(i))})
        for i, s in enumerate(samples)
    )
    assert sum(1 for _ in task.judge(samples, outputs)) == 80
    assert most <= 12  # three batches of four


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_definitions_never_share_a_hash(data, folder, definition):
    path = data / DEFINITIONS[definition].file
    if not path.exists():
        path.write_bytes(b"other weights")
    hashes = [
        task.protocol_hash({} if d == "clean" else {"definition": d})
        for d in ("clean", definition)
        for task in [make(data, folder, definition=d)]
    ]
    assert (hashes[0] == hashes[1]) == (definition == "clean")


def test_an_fid_is_the_same_number_whatever_stands_beside_it(data, folder):
    plain, full = make(data, folder), make(data, folder, **WITH_ALL)
    assert plain.protocol_hash({"clip_score": False}) == full.protocol_hash({})
    assert plain.judge_identity() != full.judge_identity()


def test_what_stands_beside_it_is_absent_with_a_reason(data, folder, tmp_path):
    shutil.rmtree(data / "judges/clip-vit-l-14-openai")
    record = measure(data, folder, tmp_path / "run", clip_score=True)
    (fid,) = record.results
    assert "open_clip_model.safetensors" in fid.facts["clip_score"]
    assert fid.facts["lpips_diversity"] == "absent: switched off"


def test_lpips_is_the_packages(data, folder):
    import lpips

    from unimm_eval.judges.lpips_distance import FILE, LpipsDistance

    ours = LpipsDistance(data / FILE, device="cpu")
    pictures = [paint(i, (64, 64)) for i in range(3)]
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    backbone = torch.load(data / FILE, weights_only=True)
    for name, weight in theirs.net.state_dict().items():
        weight.copy_(backbone["features." + name.split(".", 1)[1]])
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1 for p in pictures]
    with torch.no_grad():
        apart = [[float(theirs(a, b)) for b in tensors] for a in tensors]
    expected = [sum(row) / 2 for row in apart]
    assert ours.to_others(pictures) == pytest.approx(expected, rel=1e-5)
    assert ours.to_others([*pictures[:1], paint(9, (32, 64))]) == [None, None]
    assert ours.to_others([paint(i, (28, 64)) for i in range(2)]) == [None, None]


def test_pictures_too_small_for_lpips_have_none_with_a_reason(data, folder, tmp_path):
    class Small(Painter):
        def generate_images(self, requests):
            return [paint(request.seed % 2**32, (8, 8)) for request in requests]

    (fid,) = measure(data, folder, tmp_path / "run", Small(), lpips_diversity=True).results
    assert fid.facts["lpips_diversity"].startswith("absent: no two pictures")


def test_clip_score_is_torchmetrics(data):
    """The cosine, times 100; torchmetrics itself wants transformers' classes."""
    import open_clip
    from PIL import Image

    from unimm_eval.judges.clip_score import ClipScore

    folder = data / "judges/clip-vit-l-14-openai"
    ours = ClipScore.load(folder, device="cpu", batch_size=2)
    pictures = [paint(i, (40, 32)) for i in range(3)]
    captions = ["a cat", "a dog on a mat", "words " * 100]
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer("ViT-L-14-quickgelu")(captions)
    with torch.no_grad():
        text = model.eval().encode_text(tokens)
        seen = model.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures]))
    expected = 100 * torch.nn.functional.cosine_similarity(text, seen)
    found = list(ours.scores(pictures, captions))
    assert np.abs(found).max() > 0.1
    assert found == pytest.approx(expected.tolist(), abs=1e-3)


# --- what cannot be -----------------------------------------------------------------------------


def test_too_few_pictures_are_refused_with_the_reason(data, folder):
    with pytest.raises(UserError, match=r"20 pictures .* FID needs 2048.*rank.*") as raised:
        make(data, folder, allow_small=False).check()
    assert "--set fid.allow_small=true" in raised.value.fix
    with pytest.raises(UserError, match="10 reference pictures are there"):
        make(data, folder, allow_small=False, images_per_prompt=300).check()


def test_a_run_that_a_limit_made_small_ends_with_the_reason(data, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("unimm_eval.tasks.fid.official.LEAST", 10)
    with pytest.raises(UserError, match="4 pictures were scored, and an FID needs 10"):
        evaluate(
            Painter(), [make(data, folder, allow_small=False)], limit=2, output=tmp_path / "run"
        )


def test_everything_that_is_missing_is_told_at_once(tmp_path, folder):
    task = make(tmp_path / "nothing", folder, allow_small=False, judge_device="quantum:7")
    with pytest.raises(UserError) as raised:
        task.check()
    assert "inception-2015-12-05.pt is missing" in raised.value.what
    assert "FID needs 2048" in raised.value.what
    assert "quantum:7" in raised.value.what
    assert "unimm-eval data fetch fid" in raised.value.fix
    assert "SHA-256 f58cb9b6" in raised.value.fix
    with pytest.raises(UserError, match="needs pictures to compare with"):
        make(tmp_path / "nothing", None).check()


def test_weights_cut_short_are_told(data, folder):
    task = make(data, folder)
    path = data / DEFINITIONS["clean"].file
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"inception-2015-12-05\.pt has SHA-256"):
        task.check()


def test_two_pictures_of_one_id_are_told(data, folder):
    (folder / "3.jpg").write_bytes(encode_png(paint(3)))
    (folder / "3.txt").write_text("three")
    with pytest.raises(UserError, match=r"0003.png and 3.jpg would have one id"):
        make(data, folder).check()


def test_bad_pictures_in_a_folder_are_reported_with_their_sample(data, folder, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for number in range(9):
        (theirs / f"{number:04d}.png").write_bytes(encode_png(paint(number + 50)))
    (theirs / "0004.png").write_bytes(b"no picture")
    (theirs / "0005.png").write_bytes(encode_png(paint(5))[:-40])
    output = tmp_path / "run"
    record = measure(data, folder, output, f"images:{theirs}", images_per_prompt=1)
    fid = record.get("fid")
    assert (fid.n, fid.unscored) == (7, 3)
    import pandas as pd

    rows = pd.read_parquet(output / "samples" / "fid.parquet")
    told = {
        json.loads(row.inputs)["key"]: row.unscored
        for row in rows.itertuples()
        if isinstance(row.unscored, str)
    }
    assert told.keys() == {"4", "5", "9"}
    assert "missing" in told["9"]
    assert all("not a picture" in told[key] for key in ("4", "5"))


def test_features_that_are_not_numbers_are_unscored(data, folder, monkeypatch):
    nothing = np.full(FEATURES, np.nan, np.float32)
    monkeypatch.setattr(Inception, "features", lambda self, found: (nothing for _ in found))
    task = make(data, folder)
    monkeypatch.setattr(task, "_reference", lambda load: None)
    _, scores = judged(task)
    assert {score.unscored for score in scores} == {"the features are not finite"}


def test_a_run_without_its_features_is_told(data, folder):
    task = make(data, folder)
    samples, scores = judged(task)
    scores[3] = Score(sample_id=scores[3].sample_id, repeat=scores[3].repeat)
    with pytest.raises(UserError, match="features of 1 pictures are not in the store"):
        task.summarize(samples, scores)


def test_the_card_pins_the_defaults():
    from unimm_eval.engine.registry import task_entries

    card = task_entries()["fid"].card
    assert {key: card.settings[key] for key in ("definition", "images_per_prompt")} == {
        "definition": Fid.Config().definition,
        "images_per_prompt": Fid.Config().images_per_prompt,
    }
    named = {file["name"] for file in card.data["files"]}
    assert {definition.file for definition in DEFINITIONS.values()} < named
