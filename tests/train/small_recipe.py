"""A recipe that trains in seconds."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from unimm_eval.train.recipe import Recipe, load_recipe

DEMO = Path(__file__).parents[2] / "train" / "recipes" / "demo.yaml"


def small_recipe(**changes) -> Recipe:
    values = load_recipe(DEMO).model_dump()
    values["model"].update(dim=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16)
    values["model"].update(expert_dim=16, time_dim=16)
    values["optimizer"].update(warmup_steps=2, decay_steps=3)
    values["stages"] = values["stages"][:1]
    values.update(name="small", steps=8, rows=4, dtype="float32", save_every=3)
    return Recipe(**{**values, **changes})


def saved(folder: Path, step: int) -> dict[str, Tensor]:
    """The tensors of a state of a model that is not sharded."""
    tensors = {}
    for file in sorted((folder / f"state-{step:07d}").glob("*.safetensors")):
        tensors |= load_file(file)
    assert tensors
    return tensors
