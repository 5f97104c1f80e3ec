"""Two real processes train as one does, and go on as if they had never stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_program import UNEVEN, UnevenRows
from small_recipe import saved

from unimm_eval.model.sequence import PictureSegment
from unimm_eval.train.log import read_log
from unimm_eval.train.pretrain import Pretraining

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def two_ranks(command, folder):
    """Gloo processes on the loopback."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, str(HERE / "rank_program.py"), command, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks("begin", folder)
    return folder


def test_ranks_with_few_and_with_many_pictures_have_the_gradient_of_one(
    folder, tmp_path, monkeypatch
):
    """Sums are divided by what all ranks count, a modality at a time: after the first step AdamW's
    first moment is the gradient times 1 − β1."""
    monkeypatch.setattr("unimm_eval.train.batches.RecipeRows", UnevenRows)
    (tmp_path / "tokenizer.json").write_bytes((folder / "uneven" / "tokenizer.json").read_bytes())
    alone = Pretraining(UNEVEN, tmp_path, workers=0)
    rows = UnevenRows(UNEVEN, alone.tokenizer, tmp_path)
    few, many = (
        sum(isinstance(part, PictureSegment) for k in mine for doc in rows.row(k) for part in doc)
        for mine in ((0, 2), (1, 3))
    )
    assert 0 < few < many / 3
    alone.run(until=1)
    ours, theirs = saved(folder / "uneven", 1), saved(tmp_path, 1)
    for name in theirs:
        if name.startswith("exp_avg/"):
            scale = float(theirs[name].abs().max())
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-5 * scale, rtol=0)


def test_two_ranks_that_were_stopped_go_on_as_if_they_had_not_been(folder):
    """Bit for bit, with the running centre of the losses."""
    two_ranks("go-on", folder)
    ours, theirs = (saved(folder / name, 6) for name in ("stopped", "unstopped"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    logs = [read_log(folder / name) for name in ("stopped", "unstopped")]
    for entry in [*logs[0], *logs[1]]:
        assert entry["text_weight"] != 1  # the running centre is part of the state
        del entry["seconds"], entry["tokens_per_second"]
    assert logs[0] == logs[1]
