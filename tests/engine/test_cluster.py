"""A cluster gives the numbers of one process, whoever dies; what cannot be had is told at once."""

import json
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from checkpoints import tiny_checkpoint
from engine_fakes import FakeModel, Say

from unimm_eval import evaluate
from unimm_eval.api import UserError
from unimm_eval.cli.options import cluster_of, read_options
from unimm_eval.engine.pool import ClusterOptions
from unimm_eval.engine.progress import Silent

SETTINGS = {"tasks": "geneval:mini,dclm:mini,vqa16:mini", "limit": 6, "batch_size": 2}


def numbers(folder: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "results.json").read_text())
    del record["volatile"]
    return record


def files(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("media/*/*.png"), *folder.glob("samples/*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Killer(Silent):
    """Kills the oldest worker when the first and the fifth batch are in the store, and the scorer
    with the second one."""

    def __init__(self) -> None:
        self.batches = 0
        self.killed: list[str] = []

    def advance(self, task: str, count: int) -> None:
        self.batches += 1
        kind = {1: "Worker", 2: "Scorer", 5: "Worker"}.get(self.batches, "nobody")
        actors = [
            process
            for process in psutil.Process().children(recursive=True)
            if f"ray::{kind}" in " ".join(process.cmdline()[:1])
        ]
        if actors:
            min(actors, key=lambda process: process.create_time()).kill()
            self.killed.append(kind)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_workers_and_scorers_that_die_change_no_number(tmp_path):
    model = str(tiny_checkpoint(tmp_path / "tiny"))
    evaluate(model, output=tmp_path / "local", device="cpu", **SETTINGS)
    killer = Killer()
    evaluate(
        model,
        output=tmp_path / "ray",
        device="cpu",
        cluster=ClusterOptions(workers=2, worker_cpus=0.5, scorers=1, scorer_cpus=0.5),
        progress=killer,
        **SETTINGS,
    )
    assert sorted(killer.killed) == ["Scorer", "Worker", "Worker"]
    assert numbers(tmp_path / "ray") == numbers(tmp_path / "local")
    assert files(tmp_path / "ray") == files(tmp_path / "local")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"workers": 1000}, "1000 workers of 1 CPUs"),
        ({"worker_gpus": 64}, "64 GPUs"),
        ({"scorers": 1, "scorer_gpus": 64}, "1 scorers of 1 and 64"),
    ],
)
def test_what_no_machine_has_is_refused_within_seconds(tmp_path, options, named):
    began = time.monotonic()
    with pytest.raises(UserError, match=f"{named}.* do not fit this machine"):
        evaluate(
            "demo",
            "dclm:mini",
            limit=2,
            output=tmp_path / "run",
            device="cpu",
            cluster=ClusterOptions(**options),
        )
    assert time.monotonic() - began < 10
    assert not (tmp_path / "run").exists()


def test_a_model_that_lives_here_cannot_be_sent(tmp_path):
    with pytest.raises(UserError, match="object of this process"):
        evaluate(FakeModel(), [Say("say")], output=tmp_path / "run", cluster=ClusterOptions())


def test_a_task_that_workers_cannot_make_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be made from its card"):
        evaluate("demo", [Say("say")], output=tmp_path / "run", cluster=ClusterOptions())


def test_options_of_a_cluster_need_one():
    options = read_options({"model": "demo", "workers": 2, "address": "auto"}, config=None)
    with pytest.raises(UserError, match=r"--workers, --address .*\n.*--executor ray"):
        cluster_of(options)
    assert cluster_of(options.model_copy(update={"executor": "ray"})) == ClusterOptions(
        workers=2, address="auto"
    )
    with pytest.raises(UserError, match="cannot be had"):
        ClusterOptions(workers=0)
