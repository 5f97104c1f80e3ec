"""Every size and choice of an architecture, checked before anything is allocated."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

AttentionKind = Literal["shared", "modality"]
FeedForwardKind = Literal["shared", "modality", "moe"]
SharedExperts = Literal["none", "global", "modality"]
Prediction = Literal["x", "v"]

# A tensor has at most three of these sizes (a factor of two is to spare) and fits 2⁶³ bytes.
_MOST_OF_ANY = 2**20
_MOST = {
    "max_length": 2**24,  # positions become angles in fp32, which tells whole numbers up to here
    "num_experts": 1023,  # groups of the CUDA kernels behind grouped_mm; the paper stops at 1008
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture of a unified model (paper §2.2, §6.1, appendix E).

    `num_experts` counts every expert and `top_k` every active one, shared ones included: the
    paper's "15 of 254" with one shared expert per modality is num_experts=256, top_k=16.
    With attention="modality" text and pictures have attention projections and norms of their own;
    together with feed_forward="modality" that is the Mixture-of-Transformers. Attention and
    feed-forward layers are chosen apart, so every combination of them is legal.
    With `understanding_channels` pictures to be understood are shown in a latent space of their own
    (a dual encoder), on the same grid; 0 is one space for both.
    Raises ValueError, naming the field, for a configuration that cannot work.
    """

    vocab_size: int
    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_length: int
    feed_forward: FeedForwardKind
    attention: AttentionKind = "shared"
    hidden_dim: int = 0
    num_experts: int = 0
    top_k: int = 0
    expert_dim: int = 0
    shared_experts: SharedExperts = "none"
    prediction: Prediction = "x"
    latent_channels: int = 192
    latent_grid: int = 4
    understanding_channels: int = 0
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    time_dim: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and type(value) is not int:
                raise ValueError(f"{field.name} must be a whole number, not {value!r}")
            if field.type is float and not (type(value) in (int, float) and 0 < value < math.inf):
                raise ValueError(f"{field.name} must be a number above 0, not {value!r}")
        for name, kind in (
            ("attention", AttentionKind),
            ("feed_forward", FeedForwardKind),
            ("shared_experts", SharedExperts),
            ("prediction", Prediction),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {get_args(kind)}, not {getattr(self, name)!r}"
                )
        sizes = ["vocab_size", "dim", "num_layers", "num_heads", "num_kv_heads", "head_dim"]
        sizes += ["max_length", "latent_channels", "latent_grid", "time_dim"]
        sizes += (
            ["num_experts", "top_k", "expert_dim"] if self.feed_forward == "moe" else ["hidden_dim"]
        )
        for name in sizes:
            value, most = getattr(self, name), _MOST.get(name, _MOST_OF_ANY)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
            if value > most:
                raise ValueError(f"too large a model: {name} is {value}, more than {most}")
        if not 0 <= self.understanding_channels <= _MOST_OF_ANY:
            raise ValueError(
                f"understanding_channels must be 0 to {_MOST_OF_ANY}, not "
                f"{self.understanding_channels}"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads "
                f"({self.num_kv_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embedding, not {self.head_dim}")
        if self.rope_theta < 1:
            raise ValueError(f"rope_theta must be at least 1, not {self.rope_theta!r}")
        if self.dim % 4:
            raise ValueError(f"dim must be a multiple of 4 for sinusoids, not {self.dim}")
        if self.time_dim % 2:
            raise ValueError(f"time_dim must be even for sinusoids, not {self.time_dim}")
        if self.latent_tokens + 2 > self.max_length:
            raise ValueError(
                f"a picture of {self.latent_tokens} tokens (latent_grid={self.latent_grid}) does "
                f"not fit max_length={self.max_length}"
            )
        if self.feed_forward == "moe":
            self._check_experts()

    def _check_experts(self) -> None:
        if not 1 <= self.routed_top_k <= self.num_routed:
            raise ValueError(
                f"top_k={self.top_k} of num_experts={self.num_experts} with "
                f"shared_experts={self.shared_experts!r} leaves {self.routed_top_k} of "
                f"{self.num_routed} experts to route to"
            )
        for name in ("dim", "expert_dim"):
            if getattr(self, name) % 8:
                raise ValueError(
                    f"{name} must be a multiple of 8 with experts, not {getattr(self, name)}: "
                    "the grouped matrix product takes rows of whole 16 bytes, and bf16 is 2 each"
                )

    @property
    def latent_tokens(self) -> int:
        """Tokens of one picture."""
        return self.latent_grid**2

    @property
    def num_shared(self) -> int:
        """Experts that are not routed to."""
        return {"none": 0, "global": 1, "modality": 2}[self.shared_experts]

    @property
    def num_routed(self) -> int:
        return self.num_experts - self.num_shared

    @property
    def routed_top_k(self) -> int:
        """Routed experts a token; one of the active experts is shared where there are any."""
        return self.top_k - (self.num_shared > 0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ModelConfig":
        """Raises ValueError for unknown or missing fields."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error
