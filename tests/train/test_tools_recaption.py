"""`unimm-train recaption` against a real server: what it asks, what it leaves however it ends."""

import base64
import errno
import json
import os
import random
import re
import time

import pytest
from judge_server import JudgeServer, digest, serving
from tools_kit import QUICK, Killer, picture, read_rows, run, run_killed, write_rows

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.train.tools import folder
from unimm_eval.train.tools.asking import Sampling, Server
from unimm_eval.train.tools.prompts import RECAPTION
from unimm_eval.train.tools.recaption import Recaption, recaption


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UNIMM_EVAL_JUDGE_KEY", raising=False)


def url_of(body):
    parts = body["messages"][-1]["content"]
    return next((part["image_url"]["url"] for part in parts if part["type"] == "image_url"), "")


def caption(body):
    """Depends on the picture and on the seed, as that of a model that draws does."""
    return f"<think>hm</think> caption {digest(url_of(body) + str(body.get('seed')))} "


def asked_of(server):
    """Bodies of questions about pictures."""
    return [body for body in server.bodies if url_of(body)]


def refusing(url):
    """A fault for one picture: the server's question holds no text of its own to tell it by."""

    def answer(body):
        return "" if url_of(body) == url else caption(body)

    return answer


@pytest.fixture
def server():
    with serving(JudgeServer(answer=caption)) as state:
        yield state


@pytest.fixture
def source(tmp_path):
    names = [picture(tmp_path / "in" / "p" / f"{n}.png", n).name for n in range(12)]
    rows = [{"image": f"p/{name}", "caption": f"old {name}", "k": 1} for name in names]
    return write_rows(tmp_path / "in" / "rows.jsonl", [*rows, rows[0]])


def job_of(source, server, output, **fields):
    limits = fields.pop("limits", JudgeSettings(concurrency=4))
    spec = Server(spec=server.spec, limits=limits, patience=QUICK)
    return Recaption(source=source, output=output, server=spec, **fields)


def test_captions_stand_in_the_order_of_their_rows_beside_what_the_rows_said(
    source, server, tmp_path
):
    done = recaption(job_of(source, server, tmp_path / "out"))
    assert done.files == {"captions.jsonl": 13}
    rows = read_rows(tmp_path / "out" / "captions.jsonl")
    assert [row["image"] for row in rows] == [f"p/{n}.png" for n in (*range(12), 0)]
    assert rows[3]["original_caption"] == "old 3.png"
    assert rows[3]["k"] == 1
    assert re.fullmatch(r"caption [0-9]+", rows[3]["caption"])
    assert rows[3]["finish_reason"] == "stop"
    assert rows[0]["caption"] != rows[12]["caption"], "equal rows are drawn apart"
    assert (tmp_path / "out" / "skipped.jsonl").read_bytes() == b""


def test_a_question_is_the_papers(source, server, tmp_path):
    recaption(job_of(source, server, tmp_path / "out"))
    body = asked_of(server)[0]
    system, user = body["messages"]
    assert system["role"] == "system"
    assert system["content"][0]["text"] == RECAPTION
    assert RECAPTION.startswith("You are an expert image captioner. Write one specific, ")
    assert [part["type"] for part in user["content"]] == ["image_url"]
    data = base64.b64decode(user["content"][0]["image_url"]["url"].partition(",")[2])
    assert data in {file.read_bytes() for file in source.parent.glob("p/*.png")}
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.6, 0.95, 128)
    assert 0 <= body["seed"] < 2**31


def test_a_folder_of_pictures_is_read_with_its_captions(server, tmp_path):
    for number, name in enumerate(("b.png", "a/c.png", "d.jpg")):
        picture(tmp_path / "in" / name, number)
    (tmp_path / "in" / "b.txt").write_text("a sidecar\n")
    write_rows(tmp_path / "in" / "captions.jsonl", [{"file_name": "d.jpg", "caption": "of d"}])
    recaption(job_of(tmp_path / "in", server, tmp_path / "out"))
    rows = read_rows(tmp_path / "out" / "captions.jsonl")
    assert [(row["file_name"], row.get("original_caption")) for row in rows] == [
        ("a/c.png", None),
        ("b.png", "a sidecar"),
        ("d.jpg", "of d"),
    ]


def arguments(source, server, output):
    return [
        "recaption",
        str(source),
        f"--output={output}",
        f"--model={server.spec}",
        "--concurrency=3",
    ]


def test_killed_at_random_moments_it_ends_with_the_file_of_an_unstopped_run(source, tmp_path):
    killer = Killer()

    def slowly(body):
        killer.count()
        time.sleep(0.01)
        return caption(body)

    with serving(JudgeServer(answer=slowly)) as server:
        assert run(arguments(source, server, tmp_path / "whole")) == 0
        unstopped = len(server.bodies)
        rng = random.Random(7)
        statuses = [
            run_killed(arguments(source, server, tmp_path / "out"), killer, rng=rng, requests=5)
            for _ in range(3)
        ]
        assert run(arguments(source, server, tmp_path / "out")) == 0
        again = len(server.bodies) - 2 * unstopped
    assert -9 in statuses
    for name in ("captions.jsonl", "skipped.jsonl", "run.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    begun = 2 * 3  # the client begins twice as many questions as it asks at once
    assert again <= 3 * (begun + 1), "a kill costs what was begun, and a probe"


def test_a_journal_cut_at_any_byte_is_continued(source, server, tmp_path):
    job = job_of(source, server, tmp_path / "out")
    recaption(job)
    journal, result = tmp_path / "out" / "answers.jsonl", tmp_path / "out" / "captions.jsonl"
    whole, expected = journal.read_bytes(), result.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(len(whole) - last, len(whole), 7):
        journal.write_bytes(whole[:cut])
        result.unlink()
        before = len(asked_of(server))
        recaption(job)
        assert result.read_bytes() == expected
        assert len(asked_of(server)) == before + 1
    journal.write_bytes(whole.replace(b"key", b"\0\0\0", 1))
    with pytest.raises(UserError, match="damaged before line 2"):
        recaption(job)


def test_what_is_there_is_not_asked_again_when_rows_are_added(source, server, tmp_path):
    job = job_of(source, server, tmp_path / "out")
    recaption(job)
    before = len(asked_of(server))
    new = {"image": picture(source.parent / "new.png", 99).name}
    lines = source.read_text().splitlines()
    source.write_text("\n".join([json.dumps(new), *lines]))
    recaption(job)
    assert len(asked_of(server)) == before + 1
    assert read_rows(tmp_path / "out" / "captions.jsonl")[0]["image"] == "new.png"


def test_bad_rows_are_named_counted_and_skipped(source, server, tmp_path):
    (source.parent / "p" / "torn.jpg").write_bytes(b"\xff\xd8\xff no")
    bad = [b"{", b"[1]", b"{}", b'{"image": 3}', b'{"image": "nowhere.png"}', b"\xff"]
    bad.append(b'{"image": "p/torn.jpg"}')
    source.write_bytes(source.read_bytes() + b"\n".join(bad))
    done = recaption(job_of(source, server, tmp_path / "out", max_skipped=0.5))
    assert done.files == {"captions.jsonl": 13}
    left_out = {row["row"]: row["reason"] for row in read_rows(tmp_path / "out" / "skipped.jsonl")}
    assert dict(done.skipped.reasons) == left_out
    reasons = [left_out[f"rows.jsonl, line {line}"] for line in range(14, 21)]
    for reason, said in zip(
        reasons,
        ("not JSON", "object", "no file_name or image", "3 is not", "No such", "UTF-8", "decoded"),
        strict=True,
    ):
        assert said in reason


def test_too_many_bad_rows_stop_it_before_anything_is_asked(source, server, tmp_path, capfd):
    source.write_text(source.read_text() + "nonsense\n")
    assert run(arguments(source, server, tmp_path / "out")) == 2
    said = capfd.readouterr().err
    assert "1 of 14 rows cannot be used" in said
    assert "rows.jsonl, line 14: not JSON" in said
    assert not server.bodies
    assert run([*arguments(source, server, tmp_path / "out"), "--max-skipped=0.1"]) == 0


def test_empty_answers_are_bad_rows_and_too_many_stop_it(source, tmp_path):
    data = base64.b64encode((source.parent / "p" / "4.png").read_bytes())
    url = f"data:image/png;base64,{data.decode()}"
    with serving(JudgeServer(answer=refusing(url))) as server:
        with pytest.raises(UserError, match=r"1 of 13 rows .*\n.*line 5: the answer is empty"):
            recaption(job_of(source, server, tmp_path / "out"))
        assert not (tmp_path / "out" / "captions.jsonl").exists()
        done = recaption(job_of(source, server, tmp_path / "out", max_skipped=0.1))
    assert done.files == {"captions.jsonl": 12}


def test_an_outage_ends_incomplete_and_costs_nothing(source, tmp_path):
    down = [False]

    def fault(question, nth):
        return "503" if down[0] and not question.startswith("Answer with") else ""

    with serving(JudgeServer(answer=caption, fault=fault)) as server:
        recaption(job_of(source, server, tmp_path / "whole"))
        lines = source.read_text()
        source.write_text("".join(lines.splitlines(keepends=True)[:5]))
        recaption(job_of(source, server, tmp_path / "out"))
        source.write_text(lines)
        down[0] = True
        with pytest.raises(IncompleteError, match="did not answer about"):
            recaption(job_of(source, server, tmp_path / "out"))
        down[0] = False
        before = len(asked_of(server))
        recaption(job_of(source, server, tmp_path / "out"))
        assert len(asked_of(server)) == before + 8
    whole, out = (tmp_path / name / "captions.jsonl" for name in ("whole", "out"))
    assert out.read_bytes() == whole.read_bytes()


def test_a_full_disk_keeps_what_was_answered(source, server, tmp_path, monkeypatch):
    recaption(job_of(source, server, tmp_path / "whole"))
    room, write = [700], os.write

    def limited(descriptor, data):
        part = bytes(data)[: room[0]]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(part)
        return write(descriptor, part)

    with monkeypatch.context() as patch:
        patch.setattr(folder.os, "write", limited)
        with pytest.raises(IncompleteError, match="No space left"):
            recaption(job_of(source, server, tmp_path / "out"))
    kept = (tmp_path / "out" / "answers.jsonl").read_bytes()
    assert kept.endswith(b"}\n")
    recaption(job_of(source, server, tmp_path / "out"))
    whole, out = (tmp_path / name / "captions.jsonl" for name in ("whole", "out"))
    assert out.read_bytes() == whole.read_bytes()
    assert (tmp_path / "out" / "answers.jsonl").read_bytes().startswith(kept)


def test_a_folder_begun_otherwise_is_refused_by_name(source, server, tmp_path):
    recaption(job_of(source, server, tmp_path / "out"))
    with pytest.raises(UserError, match='begun with prompt "You are'):
        recaption(job_of(source, server, tmp_path / "out", prompt="Say it in French."))
    with pytest.raises(UserError, match=r"begun with temperature 0\.6; now it is 0\.0"):
        recaption(job_of(source, server, tmp_path / "out", sampling=Sampling(temperature=0.0)))
    server.model = "another"
    with pytest.raises(UserError, match="begun with model"):
        recaption(job_of(source, server, tmp_path / "out"))
    with pytest.raises(UserError, match="holds something else"):
        recaption(job_of(source, server, source.parent))


def test_two_processes_do_not_share_a_folder(tmp_path):
    setup = {"tool": "x"}
    with (
        folder.opened(tmp_path / "out", setup),
        pytest.raises(UserError, match="Another process"),
        folder.opened(tmp_path / "out", setup),
    ):
        raise AssertionError("opened twice")


def test_the_pace_that_was_asked_for_is_kept(source, server, tmp_path):
    began = time.monotonic()
    limits = JudgeSettings(concurrency=8, requests_per_minute=1800)
    recaption(job_of(source, server, tmp_path / "out", limits=limits))
    assert time.monotonic() - began >= 12 / 30


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--temperature=-1", "temperature is -1"),
        ("--top-p=0", "top-p is 0"),
        ("--max-new-tokens=0", "max-new-tokens is 0"),
        ("--max-skipped=2", "max-skipped is 2"),
        ("--options=[]", "options is no JSON object"),
        ("--model=Qwen", "has no URL"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(
    source, server, tmp_path, capfd, option, said
):
    assert run([*arguments(source, server, tmp_path / "out"), option]) == 2
    assert said in capfd.readouterr().err
    assert not server.bodies


def test_nothing_to_do_is_said(server, tmp_path, capfd):
    assert run(arguments(tmp_path / "none.jsonl", server, tmp_path / "out")) == 2
    assert "none.jsonl is not there" in capfd.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(arguments(tmp_path / "empty", server, tmp_path / "out")) == 2
    assert "holds no pictures" in capfd.readouterr().err
