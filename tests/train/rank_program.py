"""What the ranks of test_ranks.py run: `python rank_program.py begin|go-on FOLDER`."""

import sys
from pathlib import Path

from small_recipe import small_recipe

from unimm_eval.train import batches
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.rows import RecipeRows

CENTRED = small_recipe(centering={"alpha": 0.3, "momentum": 0.8}, steps=6)
UNEVEN = small_recipe(stages=({"from_step": 0, "mixture": {"text": 0.7, "text_to_image": 0.3}},))
PICTURES = small_recipe(stages=({"from_step": 0, "mixture": {"text_to_image": 1.0}},))


class UnevenRows(RecipeRows):
    """Of two ranks one gets text with few pictures, the other nothing but pictures."""

    def __init__(self, recipe, tokenizer, folder, **options):
        super().__init__(recipe, tokenizer, folder, **options)
        self.pictures = RecipeRows(PICTURES, tokenizer, folder)

    def read(self, k):
        return super().read(k) if k % 2 == 0 else self.pictures.read(k)


def main(command, folder):
    if command == "go-on":
        Pretraining(CENTRED, folder / "stopped", workers=0).run()
        return
    Pretraining(CENTRED, folder / "unstopped", workers=0).run()
    Pretraining(CENTRED, folder / "stopped", workers=0).run(until=3)
    batches.RecipeRows = UnevenRows
    Pretraining(UNEVEN, folder / "uneven", workers=0).run(until=1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
