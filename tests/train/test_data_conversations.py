"""Lines of LLaVA and Cambrian become documents of which answers alone are trained on."""

import numpy as np
import pytest
from data_kit import PICTURE, WORDS, open_rows, write_jsonl, write_picture

from unimm_eval.api import UserError
from unimm_eval.model.sequence import IGNORED, PictureSegment, document_length, pack


def turn(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def rows_of(folder, lines, **changes):
    path = write_jsonl(folder / "data" / "conversations.jsonl", lines)
    spec = {"kind": "conversations", "path": str(path), **changes.pop("spec", {})}
    return open_rows(folder / "run", {"vqa": spec}, **changes)


def epoch(rows):
    return [document for k in range(rows.sources["vqa"].rows) for document in rows.row(k)]


def trained(document):
    """Texts of what is trained on, as the batch has its targets."""
    batch = pack([[document]], length=256, pad=WORDS.pad, grid_tokens=PICTURE, channels=192)
    targets = batch.targets_BS[0]
    return targets[targets != IGNORED].tolist()


def test_answers_and_their_ends_alone_are_trained_on_behind_the_picture(tmp_path):
    write_picture(tmp_path / "data" / "a" / "b.png")
    said = turn("<image>\nWhat is red?", "a ring") + turn("And blue?", "two bars")
    (document,) = epoch(rows_of(tmp_path, [{"image": "a/b.png", "conversations": said}]))
    ring, bars = WORDS.encode("a ring"), WORDS.encode("two bars")
    assert trained(document) == [*ring, WORDS.eot, *bars, WORDS.eot]
    ids = [i for part in document if not isinstance(part, PictureSegment) for i in part.ids]
    assert ids == [
        *(WORDS.bos, WORDS.boi, WORDS.eoi, WORDS.user, *WORDS.encode("What is red?")),
        *(WORDS.assistant, *ring, WORDS.eot, WORDS.user, *WORDS.encode("And blue?")),
        *(WORDS.assistant, *bars, WORDS.eot),
    ]
    (picture,) = [part for part in document if isinstance(part, PictureSegment)]
    assert (picture.t, picture.flow) == (1.0, False)


@pytest.mark.parametrize("image", [None, "", "None", "nan", float("nan"), []])
def test_text_alone_is_a_conversation_too(tmp_path, image):
    (document,) = epoch(
        rows_of(tmp_path, [{"image": image, "conversations": turn("What is red?", "a ring")}])
    )
    assert not any(isinstance(part, PictureSegment) for part in document)
    assert trained(document) == [*WORDS.encode("a ring"), WORDS.eot]


BAD = {
    "not JSON": "{",
    "not a JSON object": "[]",
    "no conversations": {"image": ""},
    "no answer": {"conversations": [{"from": "human", "value": "a"}]},
    "human and gpt take turns": {"conversations": turn("a", "b")[::-1]},
    "empty answer": {"conversations": turn("a", " ")},
    "is no text": {"conversations": [{"from": "human", "value": 1}]},
    "has 1 × <image> and 0 pictures": {"conversations": turn("<image>\na", "b")},
    "2 pictures": {"image": ["a.png", "b.png"], "conversations": turn("a", "b")},
    "name of a file": {"image": 3, "conversations": turn("a", "b")},
    "more than a row": {"conversations": turn("a ring " * 200, "b")},
}


def test_bad_lines_are_in_no_row_and_named_with_their_place(tmp_path):
    good = [{"conversations": turn(f"number {i}", "yes")} for i in range(5)]
    lines = [good[0], "", *BAD.values(), *good[1:]]
    rows = rows_of(tmp_path, lines, max_bad_records=0.8)
    skips = rows.sources["vqa"].skips
    assert len(epoch(rows)) == 5
    assert sorted(skip.place for skip in skips) == sorted(
        f"conversations.jsonl:{number}" for number in range(3, 3 + len(BAD))
    )
    by_place = {skip.place: skip.reason for skip in skips}
    for number, reason in enumerate(BAD, start=3):
        assert reason in by_place[f"conversations.jsonl:{number}"]


def test_too_many_bad_lines_stop_before_training(tmp_path):
    lines = [{"conversations": turn("a", "b")}] * 50 + ["{"]
    with pytest.raises(UserError, match=r"(?s)vqa: 1 of 51 rec.*conversations\.jsonl:51: not J"):
        rows_of(tmp_path, lines)


def test_a_picture_that_cannot_be_read_leaves_its_place_empty_and_is_told(tmp_path):
    write_picture(tmp_path / "data" / "good.png")
    (tmp_path / "data" / "bad.png").write_bytes(b"no picture")
    lines = [
        {"image": name, "conversations": turn("<image> What?", "a ring")}
        for name in ("good.png", "bad.png", "none.png", "good.png")
    ]
    rows = rows_of(tmp_path, lines)
    read = [rows.read(k) for k in range(rows.sources["vqa"].rows)]
    assert sum(len(row.documents) for row in read) == 2
    skips = {skip.place: skip.reason for row in read for skip in row.skips}
    assert skips.keys() == {"conversations.jsonl:2", "conversations.jsonl:3"}
    assert "bad.png" in skips["conversations.jsonl:2"]
    assert "cannot be read" in skips["conversations.jsonl:3"]


def test_pictures_may_lie_elsewhere_and_lines_end_anyhow(tmp_path):
    write_picture(tmp_path / "pictures" / "a.png", seed=3)
    path = tmp_path / "data" / "conversations.jsonl"
    line = '{"image": "a.png", "conversations": [{"from": "human", "value": "x"}, '
    line += '{"from": "gpt", "value": "y"}]}'
    rows_of(tmp_path / "other", [line])
    path.parent.mkdir()
    path.write_bytes(f"\ufeff{line}\r\n\r\n{line}".encode())
    spec = {"kind": "conversations", "path": str(path), "images": str(tmp_path / "pictures")}
    rows = open_rows(tmp_path / "run", {"vqa": spec})
    documents = epoch(rows)
    assert len(documents) == 2
    first, second = (doc[1] for doc in documents)
    np.testing.assert_array_equal(first.latents, second.latents)


def test_lengths_that_were_measured_are_those_of_the_documents(tmp_path):
    rng = np.random.default_rng(0)
    write_picture(tmp_path / "data" / "a.png")
    lines = []
    for number in range(40):
        said = [
            part for _ in range(int(rng.integers(1, 4))) for part in turn("what is it", "it is")
        ]
        lines.append({"conversations": said, "image": "a.png" if number % 2 else None})
    rows = rows_of(tmp_path, lines, length=200)
    source = rows.sources["vqa"]
    total = sum(document_length(document) for document in epoch(rows))
    assert total / source.rows == source.tokens_a_row(dropout=0.1)
    for k in range(source.rows):
        assert sum(map(document_length, rows.row(k))) <= 200
    assert len(epoch(rows)) == 40
