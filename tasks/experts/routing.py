"""Expert choices of one document or picture: from a model's counts to an array and to JSON.

Shapes: L layers, E routed experts, K kinds of tokens. A document has one kind, its text. A picture
has `PICTURE_KINDS`: its tokens under each of ten times, and its tokens as it is understood.
"""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm_eval.api import RoutingCounts

TIMES = 10
"""Times at which each picture is denoised: bins of the noise schedule (paper §6.2)."""
PICTURE_KINDS = TIMES + 1


def tokens_of(counts: RoutingCounts, *, modality: str, purpose: str) -> np.ndarray:
    """int64 [L, E]: choices of the tokens of a modality and a purpose, whatever their time."""
    m, p = counts.modalities.index(modality), counts.purposes.index(purpose)
    return counts.counts[:, :, m, :, p].sum(axis=2)


def stacked(kinds: Sequence[np.ndarray]) -> np.ndarray:
    """[L, E] of each kind → [L, E, K]."""
    return np.stack(kinds, axis=-1)


def pack(counts_LEK: np.ndarray) -> dict[str, Any]:
    """JSON-able, in the fewest bytes an integer that hold all of them."""
    dtype = np.min_scalar_type(int(counts_LEK.max(initial=0))).newbyteorder("<")
    data = zlib.compress(np.ascontiguousarray(counts_LEK, dtype=dtype).tobytes(), 6)
    return {
        "shape": list(counts_LEK.shape),
        "dtype": dtype.str,
        "data": base64.b64encode(data).decode("ascii"),
    }


def unpack(packed: Mapping[str, Any]) -> np.ndarray:
    """int64 [L, E, K]."""
    data = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(data, dtype=packed["dtype"]).reshape(packed["shape"]).astype(np.int64)


def fault_of(counts_LEK: np.ndarray, *, top_k: int) -> str:
    """Why these cannot be the choices of tokens that each add `top_k` to every layer; empty where
    they can."""
    per_layer_LK = counts_LEK.sum(axis=1)
    if not math.prod(counts_LEK.shape) or top_k < 1:
        return "the model has no routed experts"
    if (per_layer_LK != per_layer_LK[0]).any() or (per_layer_LK % top_k).any():
        return "the routing counts do not add up: every token chooses top_k experts in each layer"
    if not per_layer_LK.all():
        return "no token was routed"
    return ""
