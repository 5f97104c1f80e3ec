"""How long a run is, said in steps, in tokens or in compute; and what it is made of.

    steps: 27248                                # as a recipe has it
    tokens: 57.0e+9                             # all of it
    tokens: {dclm: 520.0e+9, video: 520.0e+9}   # of each source: the mixture follows
    flops: 1.0e+21                              # training compute
    mixture: {dclm: 0.5, shutterstock: 0.5}     # the one stage of a run

A step has rows · length tokens. FLOPs are torchtitan's convention (`model/counts.py`): every token
counted as one of text that attends to a whole row.
"""

from typing import Any

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.counts import flops_per_token

LENGTHS = ("steps", "tokens", "flops")


def training_flops_per_token(config: ModelConfig, *, length: int) -> float:
    """FLOPs of training on one token in rows of `length`."""
    return flops_per_token(config, keys=length)


def number(values: dict[str, Any], key: str) -> float:
    """A count that may be written as YAML reads it or not (`1e9` is text to it). Raises
    ValueError."""
    try:
        found = float(values[key])
    except (TypeError, ValueError):
        raise ValueError(f"{key}: {values[key]!r} is not a number") from None
    if not 0 <= found < float("inf"):
        raise ValueError(f"{key}: {found:g} is not a count")
    return found


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe, with `steps` and `stages` alone. Raises ValueError."""
    values = dict(values)
    given = [key for key in LENGTHS if key in values]
    if len(given) != 1:
        raise ValueError(f"give one of {', '.join(LENGTHS)}, not {' and '.join(given) or 'none'}")
    if "mixture" in values and "stages" in values:
        raise ValueError("give mixture or stages, not both")
    if isinstance(values.get("tokens"), dict):
        if "mixture" in values or "stages" in values:
            raise ValueError("tokens of each source say what the mixture is; leave the other")
        tokens = {name: number(values["tokens"], name) for name in values["tokens"]}
        total = sum(tokens.values())
        if not total:
            raise ValueError("tokens: none of any source")
        values["mixture"] = {name: count / total for name, count in tokens.items() if count}
        values["tokens"] = total
    if "mixture" in values:
        values["stages"] = [{"from_step": 0, "mixture": values.pop("mixture")}]
    if "steps" not in values:
        values["steps"] = _steps(values)
    return values


def with_steps(values: dict[str, Any]) -> dict[str, Any]:
    """`resolved` where something is to be resolved; a plain recipe stays as it is."""
    said = any(key in values for key in ("tokens", "flops", "mixture"))
    return resolved(values) if said else values


def _steps(values: dict[str, Any]) -> int:
    """Takes tokens or flops out of `values`."""
    rows, length = (number(values, key) if key in values else 0 for key in ("rows", "length"))
    if rows < 1 or length < 1:
        raise ValueError("rows and length are needed to count steps")
    if "flops" in values:
        config = ModelConfig.from_json(dict(values.get("model", {})))
        each = training_flops_per_token(config, length=int(length))
        tokens = number(values, "flops") / each
        del values["flops"]
    else:
        tokens = number(values, "tokens")
        del values["tokens"]
    steps = round(tokens / (rows * length))
    if steps < 1:
        raise ValueError(f"{tokens:.3g} tokens are less than a step of {rows * length:g}")
    return steps
