"""Where `probes` takes labelled pictures from, how it splits them, and what it refuses."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from unimm_eval.api import UserError, encode_png
from unimm_eval.tasks.probes.probing import targets_of


def png(value, seed=0):
    array = np.random.default_rng([value, seed]).integers(0, 256, (6, 6, 3), np.uint8)
    return encode_png(array)


def write(folder, classes, *, count=10, first=0):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(png(number, first + index))
    return folder


def splits_of(task):
    found = defaultdict(Counter)
    for sample in task.samples():
        found[sample.inputs["split"]][sample.inputs["labels"]["class"]] += 1
    return {split: dict(counts) for split, counts in found.items()}


@pytest.fixture
def probes(make_task):
    return lambda path, **settings: make_task("probes", path=path, **settings)


def test_a_folder_without_splits_is_split_class_by_class(probes, tmp_path):
    task = probes(write(tmp_path / "d", ["ring", "moon"], count=20))
    task.check()
    assert splits_of(task) == {
        "train": {"ring": 16, "moon": 16},
        "val": {"ring": 2, "moon": 2},
        "test": {"ring": 2, "moon": 2},
    }
    first = [sample.inputs["labels"]["class"] for sample in task.samples()][:12]
    assert set(first) == {"ring", "moon"}
    assert targets_of(list(task.samples())) == {"class": ("moon", "ring")}


def test_three_splits_stand_as_they_are(probes, tmp_path):
    for index, split in enumerate(("train", "validation", "test")):
        write(tmp_path / split, ["a", "b"], count=3 + index, first=10 * index)
    assert splits_of(probes(tmp_path)) == {
        "train": {"a": 3, "b": 3},
        "val": {"a": 4, "b": 4},
        "test": {"a": 5, "b": 5},
    }


def test_of_two_splits_the_other_is_reported_as_with_imagenet(probes, tmp_path):
    write(tmp_path / "train", ["a", "b"], count=20)
    write(tmp_path / "val", ["a", "b"], count=4, first=50)
    assert splits_of(probes(tmp_path)) == {
        "train": {"a": 18, "b": 18},
        "val": {"a": 2, "b": 2},
        "test": {"a": 4, "b": 4},
    }
    assert splits_of(probes(tmp_path, pictures_per_class=3))["train"] == {"a": 3, "b": 3}
    assert splits_of(probes(tmp_path, pictures_per_class=3))["test"] == {"a": 4, "b": 4}


def test_names_do_not_matter_and_contents_do(probes, tmp_path):
    one = write(tmp_path / "one", ["a", "b"])
    other = write(tmp_path / "other", ["c", "d"])
    for file in sorted(other.glob("*/*.png")):
        file.rename(file.with_name(f"x{file.name}"))
    assert probes(one).data_identity() == probes(other).data_identity()
    (one / "a" / "0.png").write_bytes(png(9, 9))
    assert probes(one).data_identity() != probes(other).data_identity()


def test_equal_pictures_of_a_class_are_on_one_side(probes, tmp_path):
    folder = write(tmp_path / "d", ["a", "b"])
    for index in range(10):
        (folder / "a" / f"copy{index}.png").write_bytes(png(0, index))
    sides = defaultdict(set)
    for sample in probes(folder).samples():
        sides[sample.cluster].add(sample.inputs["split"])
    assert len(sides) == 20
    assert all(len(splits) == 1 for splits in sides.values())


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"ring": 10, "moon": 1}, r"moon has one picture"),
        ({"ring": 10, "moon": 2}, r"moon has 2 pictures"),
        ({"train/ring": 9, "train/moon": 1, "val/ring": 1}, r"train/moon has one picture"),
        ({"ring": 10}, r"ring is the only class"),
        ({"train/a": 9, "train/b": 9, "test/c": 1}, r"no training picture shows[^/]*/.*test/c"),
    ],
)
def test_classes_that_cannot_be_probed_are_refused_by_folder(probes, tmp_path, layout, said):
    for at, (name, count) in enumerate(layout.items()):
        (tmp_path / name).mkdir(parents=True)
        for index in range(count):
            (tmp_path / name / f"{index}.png").write_bytes(png(at, index))
    with pytest.raises(UserError, match=said):
        probes(tmp_path).check()


def test_a_folder_of_nothing_is_refused(probes, make_task, tmp_path):
    with pytest.raises(UserError, match="no folders of pictures"):
        probes(tmp_path).check()
    with pytest.raises(UserError, match="not a folder of labelled pictures"):
        probes(tmp_path / "nowhere").check()
    with pytest.raises(UserError, match="hf download ILSVRC/imagenet-1k"):
        make_task("probes").check()


@pytest.fixture
def data_set():
    """(folder → data set of its pictures)."""
    from datasets import ClassLabel, Dataset, Features, Image

    def make(folder, **columns):
        classes = sorted(entry.name for entry in folder.iterdir())
        files = sorted(folder.glob("*/*.png"))
        rows = {
            "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
            "label": [classes.index(file.parent.name) for file in files],
            **{name: [value] * len(files) for name, value in columns.items()},
        }
        features = {"image": Image(), "label": ClassLabel(names=classes)}
        features |= {name: ClassLabel(names=["x", "y"]) for name in columns}
        return Dataset.from_dict(rows, features=Features(features))

    return make


def test_a_data_set_is_the_same_data_as_its_folder(probes, data_set, tmp_path):
    folder = write(tmp_path / "folder", ["a", "b"])
    made = data_set(folder)
    made.save_to_disk(tmp_path / "saved")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    made.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    plain = probes(folder)
    for other in (probes(tmp_path / "saved"), probes(tmp_path / "hub")):
        other.check()
        assert other.data_identity() == plain.data_identity()
        assert splits_of(other) == splits_of(plain)
        pairs = zip(other.samples(), plain.samples(), strict=True)
        for mine, its in pairs:
            np.testing.assert_array_equal(
                other.picture_of(mine).load(), plain.picture_of(its).load()
            )


def test_rows_without_a_label_are_left_out(probes, data_set, tmp_path):
    from datasets import DatasetDict

    folder = write(tmp_path / "folder", ["a", "b"])
    made = data_set(folder)
    hidden = made.map(lambda row: {"label": -1})
    parts = {"train": made, "validation": made.select([0, 19]), "test": hidden}
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert splits_of(probes(tmp_path / "saved"))["test"] == {"a": 1, "b": 1}


def test_the_label_is_named_where_it_is_not_plain(probes, data_set, tmp_path):
    made = data_set(write(tmp_path / "folder", ["a", "b"]), coarse=1)
    made.save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="not plain which is the label") as raised:
        probes(tmp_path / "saved").check()
    assert "probes.label_column=NAME" in raised.value.fix
    probes(tmp_path / "saved", label_column="label").check()
    with pytest.raises(UserError, match="not plain"):
        probes(tmp_path / "saved", label_column="nothing").check()
