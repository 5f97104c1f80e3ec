"""Whole runs of our tasks through `evaluate`, with a model that knows nothing."""

import numpy as np
import pytest
from task_runs import ConstantFlow, UniformText

from unimm_eval import evaluate


class KnowsNothing(UniformText, ConstantFlow):
    """Uniform over bytes, predicts blank latents, paints gray, takes the first choice."""

    name = "knows-nothing"
    fingerprint = "0" * 16

    def __init__(self):
        UniformText.__init__(self)
        self.better = 1.0

    def describe(self):
        return {"vocab_size": 256, "max_length": 512}

    def generate_images(self, requests):
        return [np.full((32, 32, 3), 128, np.uint8) for _ in requests]

    def generate_text(self, requests):
        return [request.choices[0] for request in requests]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_knowing_nothing_is_chance_on_every_mini_task(tmp_path):
    record = evaluate(KnowsNothing(), "mini", output=tmp_path / "run")
    for task in (
        "cc12m:mini",
        "dclm:mini",
        "dpgbench:mini",
        "fid:mini",
        "geneval:mini",
        "vqa16:mini",
        "wise:mini",
    ):
        row = record.get(task)
        assert row.mini
        assert row.interval[0] <= row.chance <= row.interval[1]
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("limit", [1, 2, 17])
def test_any_limit_gives_a_record(tmp_path, limit):
    record = evaluate(KnowsNothing(), "mini", output=tmp_path / "run", limit=limit)
    assert all(row.limited for row in record.results)
    assert {row.task for row in record.results} == {
        "cc12m:mini",
        "dclm:mini",
        "dpgbench:mini",
        "fid:mini",
        "geneval:mini",
        "vqa16:mini",
        "wise:mini",
    }
    geneval = [row.metric for row in record.results if row.task == "geneval:mini"]
    assert (limit < 17) == ("overall" not in geneval)


def test_text_and_pictures_of_the_user(tmp_path):
    from unimm_eval.api import encode_png

    (tmp_path / "a.txt").write_text("some text\n\n" * 500)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        array = np.full((9, 7, 3), 40 * index, np.uint8)
        (pictures / f"{index}.png").write_bytes(encode_png(array))
        (pictures / f"{index}.txt").write_text(f"picture {index}")
    record = evaluate(
        KnowsNothing(),
        "text,cc12m",
        output=tmp_path / "run",
        settings={
            "text": {"path": str(tmp_path / "a.txt"), "passage_bytes": 1024},
            "cc12m": {"path": str(pictures)},
        },
    )
    assert record.get("text").value == pytest.approx(8.0)
    assert record.get("cc12m").value == record.get("cc12m").chance
    assert not any(row.mini for row in record.results)
