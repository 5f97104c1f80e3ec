"""Captions, videos, actions and trajectories from real small files."""

import io
import json
import tarfile

import av
import numpy as np
import pytest
from data_kit import PICTURE, WORDS, open_rows, write_jsonl, write_picture
from PIL import Image

from unimm_eval.api import UserError
from unimm_eval.api.actions import Motion, action_text
from unimm_eval.model.sequence import PictureSegment, document_length
from unimm_eval.world.nwm_folder import write_trajectory

CAPTIONS = [f"a ring number {i}" for i in range(12)]


def epoch(rows, name="s"):
    return [document for k in range(rows.sources[name].rows) for document in rows.row(k)]


def pictures(document):
    return [part for part in document if isinstance(part, PictureSegment)]


def words(document):
    return [part.ids for part in document if not isinstance(part, PictureSegment)]


def said(document):
    return WORDS.decode([i for ids in words(document) for i in ids])


def folder_of_captions(folder):
    for i, caption in enumerate(CAPTIONS):
        write_picture(folder / "in" / f"{i}.png", seed=i).with_suffix(".txt").write_text(caption)
    return folder


def table_of_captions(folder):
    for i in range(len(CAPTIONS)):
        write_picture(folder / f"{i}.png", seed=i)
    rows = [{"file_name": f"{i}.png", "caption": text} for i, text in enumerate(CAPTIONS)]
    write_jsonl(folder / "metadata.jsonl", rows)
    return folder


def png(seed):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write_shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shards_of_captions(folder):
    for shard in (0, 1):
        members = []
        for i in range(6 * shard, 6 * shard + 6):
            members.append((f"{i:05d}.png", png(i)))
            if shard:
                members.append((f"{i:05d}.json", json.dumps({"caption": CAPTIONS[i]}).encode()))
            else:
                members.append((f"{i:05d}.txt", CAPTIONS[i].encode()))
        write_shard(folder / f"{shard}.tar", members)
    return folder


@pytest.fixture(scope="module")
def as_pairs(tmp_path_factory):
    """The latents and captions of the folder, which all layouts must give."""
    folder = tmp_path_factory.mktemp("pairs")
    spec = {"kind": "captions", "path": str(folder_of_captions(folder / "data"))}
    rows = open_rows(folder / "run", {"s": spec}, condition_dropout=0.0)
    return {said(document): pictures(document)[0].latents for document in epoch(rows)}


@pytest.mark.parametrize("write", [folder_of_captions, table_of_captions, shards_of_captions])
def test_pairs_are_the_same_however_they_lie(tmp_path, write, as_pairs):
    spec = {"kind": "captions", "path": str(write(tmp_path / "data"))}
    rows = open_rows(tmp_path / "run", {"s": spec}, condition_dropout=0.0)
    documents = epoch(rows)
    assert sorted(map(said, documents)) == sorted(CAPTIONS)
    for document in documents:
        (picture,) = pictures(document)
        np.testing.assert_array_equal(picture.latents, as_pairs[said(document)])
        assert picture.flow
        assert words(document)[0][-1] == WORDS.boi
        assert document[0].loss


def test_directions_are_drawn_in_their_shares(tmp_path):
    path = str(table_of_captions(tmp_path / "data"))
    drawn = {}
    count = 40
    for direction in ("text_to_image", "image_to_text", "both"):
        spec = {"kind": "captions", "path": path, "direction": direction}
        if direction == "both":
            spec["text_to_image_share"] = 0.25
        rows = open_rows(tmp_path / "run", {"s": spec}, cache=str(tmp_path / "cache"))
        documents = [document for k in range(count) for document in rows.row(k)]
        drawn[direction] = np.mean([pictures(document)[0].flow for document in documents])
        if direction == "image_to_text":
            assert not documents[0][0].loss
            assert documents[0][-1].loss
    assert drawn["text_to_image"] == 1
    assert drawn["image_to_text"] == 0
    assert abs(drawn["both"] - 0.25) < 0.1


def test_captions_are_left_out_now_and_then_and_the_share_of_tokens_knows(tmp_path):
    spec = {"kind": "captions", "path": str(table_of_captions(tmp_path / "data"))}
    rows = open_rows(tmp_path / "run", {"s": spec}, condition_dropout=0.4)
    count = 20 * rows.sources["s"].rows
    documents = [rows.row(k) for k in range(count)]
    tokens = sum(document_length(one) for row in documents for one in row) / count
    assert abs(tokens / rows.sources["s"].tokens_a_row(dropout=0.4) - 1) < 0.02
    left_out = np.mean([said(one) == "" for row in documents for one in row])
    assert abs(left_out - 0.4) < 0.1


def test_bad_pairs_are_named_by_shard_and_member(tmp_path):
    good = [(f"{i}.{kind}", data) for i in range(8) for kind, data in _pair(i)]
    bad = [("8.png", png(8)), ("9.txt", b"words"), ("a.png", b"none"), ("a.txt", b"words")]
    path = write_shard(tmp_path / "x.tar", [*good, *bad, ("b.png", png(1)), ("b.txt", b"\xff")])
    spec = {"kind": "captions", "path": str(path)}
    rows = open_rows(tmp_path / "run", {"s": spec}, max_bad_records=0.5)
    measured = {skip.place: skip.reason for skip in rows.sources["s"].skips}
    assert measured == {
        "x.tar:8": "has no caption",
        "x.tar:9": "has no picture",
        "x.tar:b": "its caption is not UTF-8 (byte 0)",
    }
    read = [rows.read(k) for k in range(rows.sources["s"].rows)]
    (skip,) = [skip for row in read for skip in row.skips]
    assert skip.place == "x.tar:a"
    assert sum(len(row.documents) for row in read) == 8


def _pair(i):
    return ("png", png(i)), ("txt", CAPTIONS[i].encode())


def test_a_picture_with_too_many_pixels_is_bad(tmp_path):
    Image.new("1", (8000, 7000)).save(tmp_path / "bomb.png")
    rows = [{"image": "bomb.png", "caption": "black"}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    opened = open_rows(tmp_path / "run", {"s": {"kind": "captions", "path": str(path)}})
    (skip,) = opened.read(0).skips
    assert "pixels" in skip.reason


@pytest.mark.parametrize("cut", [100, 700, 1500])
def test_a_shard_that_is_not_whole_is_named(tmp_path, cut):
    path = write_shard(tmp_path / "x.tar", [("a.png", png(0)), ("a.txt", b"words")])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"x\.tar is no whole tar"):
        open_rows(tmp_path / "run", {"s": {"kind": "captions", "path": str(path)}})


def write_video(path, *, seconds, rate=5, size=(64, 48)):
    """A video whose grey says which second it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = 7
        for i in range(round(seconds * rate)):
            grey = np.full((size[1], size[0], 3), 20 * (i // rate) + 10, dtype=np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        film.mux(stream.encode())
    return path


def seconds_of(document):
    """Which second each frame shows, from the mean of its latents in [-1, 1]."""
    greys = [(float(p.latents.mean()) + 1) * 127.5 for p in pictures(document)]
    return [round((grey - 10) / 20) for grey in greys]


def test_videos_are_cut_between_frames_and_each_second_is_in_one_row(tmp_path):
    data = tmp_path / "data"
    lengths = {"a": 9, "b": 2.4, "c": 5}
    for name, seconds in lengths.items():
        write_video(data / f"{name}.mp4", seconds=seconds)
    (data / "d.mp4").write_bytes(b"no video")
    spec = {"kind": "video", "path": str(data)}
    rows = open_rows(tmp_path / "run", {"s": spec}, length=80, max_bad_records=0.3)
    documents = epoch(rows)
    assert all(sum(map(document_length, rows.row(k))) <= 80 for k in range(rows.sources["s"].rows))
    seen = [second for document in documents for second in seconds_of(document)]
    assert sorted(seen) == sorted([*range(9), *range(3), *range(5)])
    for document in documents:
        shown = seconds_of(document)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert all(picture.flow for picture in pictures(document))
        assert len({picture.t for picture in pictures(document)}) == len(shown)
        assert not any(part.loss for part in document if not isinstance(part, PictureSegment))
    (skip,) = rows.sources["s"].skips
    assert skip.place == "d.mp4"
    used = sum(map(document_length, documents)) / rows.sources["s"].rows
    assert used == rows.sources["s"].tokens_a_row(dropout=0.1)


def test_a_video_may_have_words_before_it(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", seconds=6)
    path = write_jsonl(tmp_path / "a.jsonl", [{"video": "a.mp4", "caption": "it gets lighter"}])
    spec = {"kind": "video", "path": str(path), "videos": str(tmp_path / "videos")}
    spec |= {"captions": True, "frames_per_second": 0.5}
    rows = open_rows(tmp_path / "run", {"s": spec})
    (document,) = rows.row(0)
    assert seconds_of(document) == [0, 2, 4]
    assert said(document) == "it gets lighter"
    assert document[0].loss
    assert document_length(document) == rows.sources["s"].tokens_a_row(dropout=0.1)


def test_annotated_actions_are_frames_the_action_and_frames(tmp_path):
    for i in range(8):
        write_picture(tmp_path / f"{i}.png", seed=i)
    before, after = [f"{i}.png" for i in range(4)], [f"{i}.png" for i in range(4, 8)]
    row = {"before": before, "after": after, "action": "opens\nthe door", "matches_video": True}
    path = write_jsonl(tmp_path / "actions.jsonl", [row] * 60)
    spec = {"kind": "actions", "path": str(path), "vary": False}
    rows = open_rows(tmp_path / "run", {"s": spec}, condition_dropout=0.0)
    document = rows.row(0)[0]
    assert [picture.flow for picture in pictures(document)] == [False] * 4 + [True] * 4
    assert [len(ids) for ids in words(document)].index(
        len(WORDS.encode("opens the door")) + 1
    ) == 9  # behind <bos> and four frames
    assert said(document) == "opens the door"
    assert not any(part.loss for part in document if not isinstance(part, PictureSegment))
    varied = open_rows(tmp_path / "varied", {"s": {**spec, "vary": True}}, condition_dropout=0.0)
    counts = {
        tuple(np.bincount([picture.flow for picture in pictures(one)], minlength=2))
        for one in epoch(varied)
    }
    assert {a for a, _ in counts} == {1, 2, 3, 4} == {b for _, b in counts}
    # Nearest to the action on both sides.
    short = next(one for one in epoch(varied) if [p.flow for p in pictures(one)] == [False, True])
    for picture, nearest in zip(pictures(short), (3, 4), strict=True):
        np.testing.assert_array_equal(picture.latents, pictures(document)[nearest].latents)


def test_trajectories_are_four_frames_a_motion_and_the_frame_behind_it(tmp_path):
    root = tmp_path / "nwm"
    frames = [np.full((48, 64, 3), 5 * i, dtype=np.uint8) for i in range(20)]
    for name in ("one", "two"):
        positions = np.stack((0.125 * np.arange(20.0), np.zeros(20)), axis=1)
        write_trajectory(
            root, name=name, positions=positions, yaw=np.zeros(20), frames=frames, png=True
        )
    (root / "two" / "7.png").unlink()
    spec = {"kind": "navigation", "path": str(root), "dataset": "recon", "distance": [2, 5]}
    rows = open_rows(tmp_path / "run", {"s": spec}, condition_dropout=0.0)
    read = [rows.read(k) for k in range(rows.sources["s"].rows)]
    documents = [document for row in read for document in row.documents]
    told = set()
    for document in documents:
        shown = pictures(document)
        assert [picture.flow for picture in shown] == [False] * 4 + [True]
        at = [round((float(picture.latents.mean()) + 1) * 127.5 / 5) for picture in shown]
        assert at[:4] == list(range(at[0], at[0] + 4))
        distance = at[4] - at[3]
        assert said(document) == action_text(Motion(dx=0.5 * distance))
        told.add(distance)
    assert told == {2, 3, 4, 5}
    assert len({skip.place for row in read for skip in row.skips}) >= 4
    assert all("frame 7" in skip.reason for row in read for skip in row.skips)
    (tmp_path / "split.txt").write_text("one\n")
    spec["trajectories"] = str(tmp_path / "split.txt")
    rows = open_rows(tmp_path / "split", {"s": spec}, condition_dropout=0.0)
    assert len(epoch(rows)) == 20 - 3 - 5
    dropped = open_rows(tmp_path / "dropped", {"s": spec}, condition_dropout=0.9)
    alone = [one for one in epoch(dropped) if len(pictures(one)) == 1]
    assert alone
    assert document_length(alone[0]) == PICTURE + 3
