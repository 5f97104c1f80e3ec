"""`unimm-train annotate-actions` against a real server: said, checked, kept apart, resumable."""

import random
import time
from itertools import pairwise

import pytest
from judge_server import JudgeServer, digest, question_of, serving
from tools_kit import QUICK, Killer, picture, read_rows, run, run_killed, write_rows

from unimm_eval.api import UserError
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.train.tools.actions import Annotate, annotate
from unimm_eval.train.tools.asking import Server
from unimm_eval.train.tools.rows import transition_rows
from unimm_eval.train.tools.skipped import Skipped


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UNIMM_EVAL_JUDGE_KEY", raising=False)


def parts_of(body):
    return body["messages"][-1]["content"]


def about(body):
    """Which of the three questions it is."""
    text = question_of(body)
    if "physical action or a motion" in text:
        return "describes_action"
    return "matches_video" if "what happens in the video" in text else "action"


def answer(body):
    """Actions by frames and seed; a check says no for about one sentence in three."""
    kind = about(body)
    if kind == "action":
        return f"moves {digest(str(parts_of(body)) + str(body.get('seed')))}"
    sentence = question_of(body).rpartition("Sentence: ")[2]
    return "No." if digest(kind + sentence) % 3 == 0 else "Yes"


@pytest.fixture
def source(tmp_path):
    names = [picture(tmp_path / "in" / f"{n}.png", n).name for n in range(16)]
    rows = [
        {"before": names[n : n + 1 + n % 4], "after": names[n + 4 : n + 5 + n % 3], "clip": n}
        for n in range(9)
    ]
    return write_rows(tmp_path / "in" / "rows.jsonl", rows)


def job_of(source, server, output, **fields):
    limits = JudgeSettings(concurrency=4)
    spec = Server(spec=server.spec, limits=limits, patience=QUICK)
    return Annotate(source=source, output=output, server=spec, **fields)


def test_two_yeses_make_training_data_and_the_rest_is_kept_apart(source, tmp_path):
    with serving(JudgeServer(answer=answer)) as server:
        done = annotate(job_of(source, server, tmp_path / "out"))
    kept, rejected = (read_rows(tmp_path / "out" / f"{n}.jsonl") for n in ("actions", "rejected"))
    assert done.files == {"actions.jsonl": len(kept), "rejected.jsonl": len(rejected)}
    assert kept
    assert rejected
    assert sorted(row["clip"] for row in kept + rejected) == list(range(9))
    assert [row["clip"] for row in kept] == sorted(row["clip"] for row in kept)
    for row in kept + rejected:
        for kind in ("describes_action", "matches_video"):
            assert row[kind] == (digest(kind + row["action"]) % 3 != 0)
        assert (row in kept) == (row["describes_action"] and row["matches_video"])


def test_what_is_asked(source, tmp_path):
    with serving(JudgeServer(answer=answer)) as server:
        annotate(job_of(source, server, tmp_path / "out"))
    by_kind = {}
    for body in server.bodies:
        if "Answer with the word yes" not in question_of(body):
            by_kind.setdefault(about(body), []).append(body)
    assert {kind: len(bodies) for kind, bodies in by_kind.items()} == dict.fromkeys(
        ("action", "describes_action", "matches_video"), 9
    )
    frames = read_rows(source)
    for kind, pictures in (("action", True), ("describes_action", False), ("matches_video", True)):
        shown = [[part["type"] for part in parts_of(body)] for body in by_kind[kind]]
        counts = sorted(types.count("image_url") for types in shown)
        expected = sorted(len(row["before"]) + len(row["after"]) for row in frames)
        assert counts == (expected if pictures else [0] * 9)
    assert {body["temperature"] for body in by_kind["action"]} == {0.6}
    assert {body["temperature"] for body in by_kind["matches_video"]} == {0.0}


def test_killed_at_random_moments_it_ends_with_the_files_of_an_unstopped_run(source, tmp_path):
    killer = Killer()

    def slowly(body):
        killer.count()
        time.sleep(0.01)
        return answer(body)

    def arguments(output):
        return [
            "annotate-actions",
            str(source),
            f"--output={output}",
            f"--model={server.spec}",
            "--concurrency=3",
        ]

    with serving(JudgeServer(answer=slowly)) as server:
        assert run(arguments(tmp_path / "whole")) == 0
        rng = random.Random(11)
        statuses = [
            run_killed(arguments(tmp_path / "out"), killer, rng=rng, requests=9) for _ in range(3)
        ]
        assert run(arguments(tmp_path / "out")) == 0
    assert -9 in statuses
    for name in ("actions.jsonl", "rejected.jsonl", "skipped.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_rows_and_verdicts_that_cannot_be_used_are_named(source, tmp_path):
    def hesitant(body):
        sentence = question_of(body).rpartition("Sentence: ")[2]
        hesitates = about(body) == "matches_video" and sentence == hesitant.about
        return "Perhaps" if hesitates else answer(body)

    with serving(JudgeServer(answer=answer)) as server:
        annotate(job_of(source, server, tmp_path / "first"))
    first = [
        row
        for name in ("actions", "rejected")
        for row in read_rows(tmp_path / "first" / f"{name}.jsonl")
    ]
    hesitant.about = next(row["action"] for row in first if row["clip"] == 2)
    bad = [{"before": "0.png"}, {"before": [], "after": "1.png"}, {"before": ["0.png"] * 5}]
    write_rows(source, [*read_rows(source), *bad])
    with serving(JudgeServer(answer=hesitant)) as server:
        with pytest.raises(UserError, match="3 of 12 rows"):
            annotate(job_of(source, server, tmp_path / "out"))
        done = annotate(job_of(source, server, tmp_path / "out", max_skipped=0.5))
    assert sum(done.files.values()) == 8
    reasons = done.skipped.reasons
    assert "the answer is neither yes nor no" in reasons["rows.jsonl, line 3"]
    assert "after: None is not the name of a file" in reasons["rows.jsonl, line 10"]
    assert "before has 0 frames" in reasons["rows.jsonl, line 11"]
    assert "before has 5 frames" in reasons["rows.jsonl, line 12"]


@pytest.mark.parametrize("frames", [1, 2])
def test_a_folder_of_frames_is_cut_into_chunks_that_follow_each_other(tmp_path, frames):
    for clip, count in (("x", 11), ("y", 2)):
        for number in range(count):
            picture(tmp_path / clip / f"frame{number}.png", number)
    rows = transition_rows(tmp_path, frames=frames)
    found = [fields for _, fields, _ in rows.parsed(dict, Skipped(share=0.0))]
    names = [f"x/frame{n}.png" for n in range(11)]
    chunks = [names[at : at + frames] for at in range(0, 11 - frames + 1, frames)]
    pairs = [{"before": a, "after": b} for a, b in pairwise(chunks)]
    if frames == 1:
        pairs.append({"before": ["y/frame0.png"], "after": ["y/frame1.png"]})
    assert found == pairs


def test_a_chunk_has_one_to_four_frames(source, tmp_path):
    with (
        serving(JudgeServer(answer=answer)) as server,
        pytest.raises(UserError, match="frames is 5"),
    ):
        annotate(job_of(source, server, tmp_path / "out", frames=5))
