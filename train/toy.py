"""`--scale toy`: a study of the paper at a size that two cores train, on the world.

What a study compares stays what it compares; everything else shrinks:

| | the paper's | at toy size |
|---|---|---|
| widths: model, FFN, expert | 2048, 8192, 512 | a 32nd (an expert's in multiples of 8) |
| depth | 16 layers | an 8th, at least 2 |
| heads | 32 and 8 of 64 | as many of 8 as the width holds, a quarter of them for keys |
| experts, of them active | 256, 16 | the same; fewer where a width of 8 is wider than a 32nd |
| encoder | SigLIP 2 … | pixels of 32 × 32 pictures in patches of 8: 16 tokens of 192 channels |
| vocabulary | 128,256 | 768, learned from the world |
| a step | 512 rows of 4,096 tokens | 4 rows of 128 |
| length of a run | 57 B tokens … | the longest of a study 0.5 M tokens, others in proportion |
| compute of a run | 10²¹ FLOPs … | a billionth |
| learning rate | 3·10⁻⁴ | 33 times that; warm-up of a tenth of the run, at most 100 steps |

Sources are replaced by what the world has of their kind. It has rooms that a robot drives through:
drives stand for navigation and, actions and all, for video, short ones for annotated actions (those
that are longer than a row are left out). All frozen encoders become the same pixels, and all
sources of captions the same captions: runs of a study that differ in nothing else become one. There
a toy run tries the machinery, not the claim.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from unimm_eval.train.budget import number, resolved
from unimm_eval.train.recipe import WORLD_SOURCES

TOKENS = 5e5
FLOPS = 1e-9  # of the paper's
_LENGTH = 128
_ROWS = 4
_VOCABULARY = 768
_WIDTH = 32
_DEPTH = 8
_HEAD_DIM = 8
_RATE = 100 / 3
_WARMUP = (100, 0.1)  # steps, of the run
_PICTURE = {"kind": "raw_pixels", "picture_size": 32, "patch_size": 8}
_LATENTS = {"latent_channels": 192, "latent_grid": 4, "understanding_channels": 0}
_STAND_INS = {
    "text": "text",
    "text_to_image": "text_to_image",
    "image_to_text": "image_to_text",
    "conversations": "chat",
    "video": "rooms",
    "actions": "short_rooms",
    "navigation": "rooms",
}


def at_toy_size(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a study, each the fields of a recipe, at toy size. Raises ValueError."""
    longest = max((_tokens(run) for run in runs if "flops" not in run), default=TOKENS)
    return [_small(run, TOKENS / longest) for run in runs]


def _tokens(run: Mapping[str, Any]) -> float:
    tokens = run.get("tokens")
    if isinstance(tokens, dict):
        return sum(number(tokens, name) for name in tokens)
    if tokens is not None:
        return number(dict(run), "tokens")
    return number(dict(run), "steps") * run["rows"] * run["length"]


def _small(run: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """One run, its tokens times `scale`."""
    values = {**run, "rows": _ROWS, "length": _LENGTH, "dtype": "float32"}
    sources = values.pop("sources", {})
    for key in ("tokenizer", "cache", "latents"):
        values.pop(key, None)
    values["encoder"] = _PICTURE
    values["model"] = _small_model(run["model"])
    if "flops" in values:
        values["flops"] = FLOPS * number(values, "flops")
    elif isinstance(values.get("tokens"), dict):
        tokens = {name: number(values["tokens"], name) for name in values["tokens"]}
        values["tokens"] = {n: scale * count for n, count in _of_world(tokens, sources).items()}
    else:
        values.pop("steps", None)
        values["tokens"] = scale * _tokens(run)
    if "mixture" in values:
        values["mixture"] = _of_world(values["mixture"], sources)
    values = resolved(values)
    if "tokens" not in run or not isinstance(run["tokens"], dict):
        values["stages"] = [
            {**stage, "mixture": _of_world(stage["mixture"], sources)} for stage in values["stages"]
        ]
    steps = values["steps"]
    most, share = _WARMUP
    values["optimizer"] = {
        **run["optimizer"],
        "learning_rate": _RATE * number(run["optimizer"], "learning_rate"),
        "warmup_steps": min(most, int(share * steps)),
    }
    return {**values, "save_every": 500}


def _small_model(model: Mapping[str, Any]) -> dict[str, Any]:
    dim = model["dim"] // _WIDTH
    heads = dim // _HEAD_DIM
    small = {
        **model,
        **_LATENTS,
        "vocab_size": _VOCABULARY,
        "dim": dim,
        "num_layers": max(2, model["num_layers"] // _DEPTH),
        "num_heads": heads,
        "num_kv_heads": max(1, heads // 4),
        "head_dim": _HEAD_DIM,
        "max_length": _LENGTH,
        "time_dim": 64,
        "rope_theta": 10_000.0,
    }
    if model["feed_forward"] == "moe":
        width = -(-model["expert_dim"] // (8 * _WIDTH)) * 8
        active = model["top_k"] * model["expert_dim"] // _WIDTH
        small["expert_dim"], small["top_k"] = width, active // width
        small["num_experts"] = model["num_experts"] * small["top_k"] // model["top_k"]
    else:
        small["hidden_dim"] = model["hidden_dim"] // _WIDTH
    return small


def _of_world(
    shares: Mapping[str, float], sources: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Shares of the world's sources that stand in for those declared. Raises ValueError for a
    source that is neither declared nor the world's."""
    found: dict[str, float] = {}
    for name, share in shares.items():
        if name in sources:
            parts = _stand_ins(sources[name])
        elif name in WORLD_SOURCES:
            parts = {name: 1.0}
        else:
            raise ValueError(f"there is no source {name}; there are {', '.join(sources)}")
        for source, part in parts.items():
            found[source] = found.get(source, 0.0) + float(share) * part
    return {source: share for source, share in found.items() if share}


def _stand_ins(source: Mapping[str, Any]) -> dict[str, float]:
    kind = source.get("kind")
    if kind == "captions":
        kind = source.get("direction", "text_to_image")
        if kind == "both":
            drawn = float(source.get("text_to_image_share", 0.5))
            return {"text_to_image": drawn, "image_to_text": 1 - drawn}
    if kind not in _STAND_INS:
        raise ValueError(f"a source of kind {kind!r} has no stand-in in the world")
    return {_STAND_INS[str(kind)]: 1.0}
