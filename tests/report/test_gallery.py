"""What the report shows of a run that is too large to show whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unimm_eval.api import Exhibit, Picture
from unimm_eval.report.gallery import choose
from unimm_eval.report.pictures import LONGEST, embed

PICTURE = Picture(array=np.full((32, 32, 3), 200, np.uint8))


def exhibits(*, wrong: int, right: int) -> Iterator[tuple[Exhibit, str | None]]:
    for index in range(wrong + right):
        group = "common" if index % 10 else "rare"
        correct = index >= wrong
        yield Exhibit(group=group, prompt=f"{index}", correct=correct, shown={"p": PICTURE}), None


def test_everything_is_shown_when_there_is_room() -> None:
    gallery = choose(exhibits(wrong=3, right=4), max_entries=20, max_bytes=10**6)
    assert [entry.verdict for entry in gallery.entries] == ["wrong"] * 3 + ["right"] * 4
    assert gallery.left_out == 0


def test_wrong_answers_come_first_and_right_ones_keep_a_place() -> None:
    gallery = choose(exhibits(wrong=500, right=500), max_entries=50, max_bytes=10**6)
    verdicts = [entry.verdict for entry in gallery.entries]
    assert verdicts == ["wrong"] * verdicts.count("wrong") + ["right"] * verdicts.count("right")
    assert verdicts.count("right") >= 10
    assert (gallery.total, gallery.left_out) == (1000, 950)
    assert gallery.counts == {"wrong": 500, "right": 500}


def test_rare_groups_are_not_crowded_out() -> None:
    gallery = choose(exhibits(wrong=500, right=0), max_entries=20, max_bytes=10**6)
    groups = [entry.group for entry in gallery.entries]
    assert groups.count("rare") == groups.count("common") == 10


def test_pictures_stop_at_the_budget() -> None:
    one = embed("p", PICTURE).size
    gallery = choose(exhibits(wrong=9, right=0), max_entries=20, max_bytes=3 * one)
    assert len(gallery.entries) == 3
    assert gallery.left_out == 6


def test_an_unscored_output_says_why() -> None:
    rows = [(Exhibit(group="g", prompt="p", correct=False, note="n"), "the judge was down")]
    (entry,) = choose(rows, max_entries=5, max_bytes=100).entries
    assert entry.verdict == "unscored"
    assert entry.note == "n\nthe judge was down"


def test_a_small_picture_is_embedded_to_the_pixel_and_a_large_one_scaled() -> None:
    small = embed("small", PICTURE)
    assert small.crisp
    assert small.uri.startswith("data:image/png;base64,")
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)
    large = embed("large", Picture(array=noise))
    assert not large.crisp
    assert large.uri.startswith("data:image/webp;base64,")
    assert large.size < 4 * LONGEST**2


def test_a_lost_picture_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name in ("gone.png", "broken.png"):
        found = embed("picture", Picture(path=tmp_path / name))
        assert not found.uri
        assert name in found.problem
