"""What the ranks of test_parallel.py run: `python parallel_program.py FOLDER`."""

import sys
from pathlib import Path

from rank_program import UNEVEN, UnevenRows
from small_recipe import small_recipe

from unimm_eval.train import batches
from unimm_eval.train.parallelize import Layout
from unimm_eval.train.pretrain import Pretraining

SHARDED = Layout(fsdp=True)
EXPERTS = Layout(fsdp=True, expert_parallel=2, recompute=True)
# Shards of an odd vocabulary are not of one size.
RECIPE = small_recipe(
    steps=6, ema=0.9, model={**small_recipe().model, "vocab_size": 769, "num_experts": 6}
)
ODD = UNEVEN.model_copy(update={"model": RECIPE.model})


def main(folder):
    for name, layout in (("fsdp", SHARDED), ("experts", EXPERTS)):
        run = Pretraining(RECIPE, folder / name, workers=0, layout=layout, asynchronous=True)
        run.run(until=3)
    Pretraining(RECIPE, folder / "moved", workers=0, layout=EXPERTS).run(until=4)
    batches.RecipeRows = UnevenRows
    Pretraining(ODD, folder / "uneven", workers=0, layout=SHARDED).run(until=2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
