"""Film strips, GIFs and videos of drives."""

import io

import numpy as np
import pytest
from PIL import Image

from unimm_eval.tasks.rollout import film
from unimm_eval.tasks.rollout.film import NoEncoder, Row, enlarged, gif, sheet, write_mp4


def colours(*levels, size=32):
    return [np.full((size, size, 3), level, np.uint8) for level in levels]


def test_small_frames_are_enlarged_without_smoothing():
    frame = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    large = enlarged(frame)
    assert large.shape == (128, 96, 3)
    assert np.array_equal(large[::4, ::4], frame)
    assert enlarged(np.zeros((224, 224, 3), np.uint8)).shape == (224, 224, 3)


def test_a_sheet_shows_every_frame_in_its_place():
    rows = [
        Row(title="predicted", frames=colours(10, 60, 110), captions=["now", "W", "a sentence"]),
        Row(title="true", frames=[None, *colours(160, 210)], captions=["", "W", "D"]),
    ]
    page = sheet(rows)
    assert page.dtype == np.uint8
    for level in (10, 60, 110, 160, 210):
        assert ((page == level).all(axis=2)).sum() >= 128 * 128
    free = sheet([Row(title="", frames=[None, *colours(9)], captions=["", ""])])
    assert (free[6:134, 96:224] == free[0, 0]).all()


def test_a_gif_holds_every_frame():
    data = gif(colours(10, 120, 240), seconds=0.25)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.n_frames, image.info["duration"]) == (3, 250)
        for number, level in enumerate((10, 120, 240)):
            image.seek(number)
            assert abs(int(np.asarray(image.convert("RGB"))[5, 5, 0]) - level) < 4


def test_a_video_holds_every_frame(tmp_path):
    import av

    path = tmp_path / "drive.mp4"
    frames = colours(10, 120, 240, size=45)
    assert write_mp4(path, frames, frames_per_second=4) in film.ENCODERS
    with av.open(str(path)) as container:
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(seen) == 3
    for frame, level in zip(seen, (10, 120, 240), strict=True):
        assert abs(float(frame.mean()) - level) < 6


def test_a_machine_without_encoders_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "ENCODERS", ("none_such",))
    with pytest.raises(NoEncoder, match="none_such"):
        write_mp4(tmp_path / "drive.mp4", colours(1), frames_per_second=4)
    assert not (tmp_path / "drive.mp4").exists()
