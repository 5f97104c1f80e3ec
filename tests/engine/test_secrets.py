"""Keys of the environment stand in no file and no message, however they got there."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer
from engine_fakes import FakeModel, Say

from unimm_eval import evaluate
from unimm_eval.api import Context, DefectError, Item, Output, SampleError, Score, scrubbed
from unimm_eval.cli.program import run_program

CANARY = "canary-9f31-of-a-key"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("UNIMM_EVAL_MODEL_KEY", CANARY)


class Leaky(FakeModel):
    def describe(self):
        return {"server": {"headers": f"Bearer {CANARY}"}}

    def generate_text(self, requests):
        return [f"ffff you asked with {CANARY}" for _ in requests]


class Refused(Say):
    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        for item in items:
            if item.sample.inputs["number"] == 3:
                raise SampleError(f"401 with {CANARY}")
        yield from super().produce(model, items, ctx)

    def judge(self, samples, outputs):
        for score in super().judge(samples, outputs):
            yield (
                Score(
                    sample_id=score.sample_id,
                    unscored=f"https://user:{CANARY[::-1]}@host: {CANARY}",
                )
                if score.sample_id == samples[0].id
                else score
            )


class Raising(Say):
    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        raise RuntimeError(f"request with {CANARY} failed")
        yield


def everything_in(folder) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_file_of_a_run_holds_a_key(tmp_path):
    evaluate(Leaky(), [Refused("refused")], output=tmp_path / "run", batch_size=4)
    written = everything_in(tmp_path / "run")
    assert b"you asked with ***" in written
    assert CANARY.encode() not in written
    assert CANARY[::-1].encode() not in written
    # Continued, it is the same run.
    evaluate(Leaky(), [Refused("refused")], output=tmp_path / "run", batch_size=4)


def test_a_traceback_holds_no_key(tmp_path, capsys):
    with pytest.raises(DefectError) as caught:
        evaluate(Leaky(), [Raising("raising")], output=tmp_path / "run")
    assert b"request with *** failed" in everything_in(tmp_path / "run")
    assert CANARY.encode() not in everything_in(tmp_path / "run")

    program = typer.Typer(name="program")

    @program.command()
    def fail(how: str) -> None:
        raise (caught.value if how == "known" else RuntimeError(f"with {CANARY}"))

    assert run_program(program, ["known"]) == 4
    assert run_program(program, ["unknown"]) == 4
    said = capsys.readouterr().err
    assert "with ***" in said
    assert CANARY not in said


def test_what_is_no_secret_stays(monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("KEYBOARD", "dvorak-layout")
    text = "abc dvorak-layout https://host/a@b:c mail@host"
    assert scrubbed(text) == text
    assert scrubbed("git clone https://me:hunter2@host/x") == "git clone https://***@host/x"
