"""The unified model: embeddings, projections and heads around the backbone, and the losses.

Shapes: B rows, S tokens a row, D model dimension, I pictures, T tokens a picture, C latent
channels, V vocabulary; J pictures of U channels in a dual encoder's understanding space.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm_eval.model import flow
from unimm_eval.model.attention import AttentionContext, KVCache, rotary_table
from unimm_eval.model.backbone import Backbone, initialise
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.feedforward import MixtureOfExperts, Routing
from unimm_eval.model.masks import AttentionBackend, check_backend
from unimm_eval.model.sequence import IGNORED, Batch


class Terms(NamedTuple):
    """What the sums of a batch are made of, without gradient.

    `target_M` where in the flattened rows the M states stand that predict a token, `nats_M` what
    each costs and `weight_M` how often it counts; `picture_I` which pictures of the batch count,
    `error_I` their mean squared errors; `load_LE` how many tokens chose each expert of each layer,
    over all ranks (None without experts).
    """

    target_M: Tensor
    nats_M: Tensor
    weight_M: Tensor
    picture_I: Tensor
    error_I: Tensor
    load_LE: Tensor | None


class Losses(NamedTuple):
    """Sums and how many terms they have, so that shares of a batch can be added up.

    `text_sum` nats over `text_count` tokens, both weighted; `flow_sum` of each counted picture's
    mean squared error over `flow_count` pictures; `balance` the router's auxiliary loss (0 without
    experts).
    """

    text_sum: Tensor
    text_count: Tensor
    flow_sum: Tensor
    flow_count: Tensor
    balance: Tensor
    terms: Terms


def sinusoid(x: Tensor, dim: int, *, max_period: float = 10_000.0) -> Tensor:
    """cos and sin of x·period^(−2i/dim): [...] → fp32 [..., dim]."""
    half = dim // 2
    exponent = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angle = x.float()[..., None] * torch.exp(-math.log(max_period) * exponent)
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


class TimeEmbedding(nn.Module):
    """t in [0, 1] → D, added to the projected latents of a picture (as in BAGEL)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.time_dim = config.time_dim
        self.hidden = nn.Linear(config.time_dim, config.dim)
        self.output = nn.Linear(config.dim, config.dim)

    def forward(self, t_I: Tensor) -> Tensor:
        # Times are scaled to 0…1000 so that the sinusoids' periods resolve them (DiT).
        wave = sinusoid(1000 * t_I, self.time_dim).to(self.hidden.weight.dtype)
        return self.output(F.silu(self.hidden(wave)))


class UnifiedModel(nn.Module):
    """Next-token prediction for text and flow matching for pictures in one transformer.

    `attention_backend` may be set at any time; it says how packed rows are computed, not what.
    `reread` makes a finished picture [I, T, C] what a dual encoder's reader sees in it, [I, T, U];
    without it the model reads its own pictures in the space that it made them in.
    """

    attention_backend: AttentionBackend = "dense"
    reread: Callable[[Tensor], Tensor] | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.latent_in = nn.Linear(config.latent_channels, config.dim)
        if config.understanding_channels:
            self.understood_in = nn.Linear(config.understanding_channels, config.dim)
        self.time = TimeEmbedding(config)
        self.backbone = Backbone(config)
        self.text_head = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.latent_out = nn.Linear(config.dim, config.latent_channels)

    def initialise(self, *, seed: int) -> "UnifiedModel":
        """Random weights. Both heads start at zero: an untrained model spreads its belief evenly
        over the vocabulary and predicts the mean picture."""
        generator = torch.Generator(device=self.embedding.weight.device).manual_seed(seed)
        initialise(self, num_layers=self.config.num_layers, generator=generator)
        nn.init.zeros_(self.text_head.weight)
        nn.init.zeros_(self.latent_out.weight)
        return self

    def cast(self, dtype: torch.dtype) -> "UnifiedModel":
        """Weights in `dtype`, routers in fp32: a rounded router flips near ties."""
        self.to(dtype)
        for module in self.modules():
            if isinstance(module, MixtureOfExperts):
                module.router.float()
        return self

    @property
    def alpha(self) -> float:
        """The noise shift of this model's latents."""
        return flow.shift_factor(self.config.latent_tokens, self.config.latent_channels)

    def embed_latents(self, z_ITC: Tensor, t_I: Tensor) -> Tensor:
        """Latents at time t as backbone inputs [I, T, D]: projected, with time and place added."""
        return self._placed(self.latent_in, z_ITC, t_I)

    def embed_understood(self, u_JTU: Tensor) -> Tensor:
        """Latents of a dual encoder's understanding side, which are always clean: [J, T, D]."""
        return self._placed(self.understood_in, u_JTU, u_JTU.new_ones(len(u_JTU)))

    def embed_finished(self, z_ITC: Tensor) -> Tensor:
        """Pictures that were just made, as the model goes on with them: clean, [I, T, D]."""
        if self.reread is not None:
            return self.embed_understood(self.reread(z_ITC))
        return self.embed_latents(z_ITC, z_ITC.new_ones(len(z_ITC)))

    def _placed(self, projection: nn.Linear, latents: Tensor, t_I: Tensor) -> Tensor:
        place_TD = self._place(latents.device)
        dtype = projection.weight.dtype
        return projection(latents.to(dtype)) + (self.time(t_I)[:, None] + place_TD.to(dtype))

    def _place(self, device: torch.device) -> Tensor:
        """Fixed 2-D sinusoids of the latent grid [T, D]."""
        grid = torch.arange(self.config.latent_grid, device=device)
        row, column = torch.meshgrid(grid, grid, indexing="ij")
        half = self.config.dim // 2
        return torch.cat((sinusoid(row.flatten(), half), sinusoid(column.flatten(), half)), dim=-1)

    def rotary(self, positions_BS: Tensor) -> Tensor:
        return rotary_table(
            positions_BS, head_dim=self.config.head_dim, theta=self.config.rope_theta
        )

    def hidden(
        self,
        batch: Batch,
        z_ITC: Tensor,
        *,
        cache: KVCache | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """Final hidden states [B, S, D] of packed rows whose pictures are shown as `z_ITC`.

        With an empty `cache`, rows of one document each are also written to its start. Raises
        ValueError when they do not fit it, or when the attention back end cannot do what is asked.
        """
        check_backend(
            self.attention_backend,
            device=batch.tokens_BS.device,
            head_dim=self.config.head_dim,
            training=torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()),
        )
        x_BSD = self.embedding(batch.tokens_BS)
        training = torch.is_grad_enabled()  # wants a gradient, if of zeros, on every rank
        if len(z_ITC) or training:
            flat = x_BSD.flatten(0, 1)
            latents = self.embed_latents(z_ITC, batch.t_I).flatten(0, 1)
            x_BSD = flat.index_copy(0, batch.index_IT.flatten(), latents).view_as(x_BSD)
        if len(batch.understood_JTU) or (training and self.config.understanding_channels):
            flat = x_BSD.flatten(0, 1)
            read = self.embed_understood(batch.understood_JTU).flatten(0, 1)
            x_BSD = flat.index_copy(0, batch.understood_index_JT.flatten(), read).view_as(x_BSD)
        context = AttentionContext(
            rotary=self.rotary(batch.positions_BS),
            mask=batch.visible.mask(self.attention_backend, dtype=x_BSD.dtype),
            cache=cache,
            index_BS=torch.arange(x_BSD.shape[1], device=x_BSD.device).expand(x_BSD.shape[:2]),
            width=x_BSD.shape[1],
        )
        return self.backbone(x_BSD, context, batch.modality_BS, routing)

    def velocity(self, prediction: Tensor, z_t: Tensor, t: Tensor, *, clamp: float) -> Tensor:
        """fp32 velocity from the latent head's output, for x- and v-pred alike."""
        if self.config.prediction == "v":
            return prediction.float()
        return flow.velocity_from_x(prediction.float(), z_t, t, clamp=clamp)

    def losses(
        self,
        batch: Batch,
        *,
        with_balance: bool,
        total: Callable[[Tensor], Tensor] | None = None,
    ) -> Losses:
        """Cross-entropy over targets (eq. 1) and flow loss over pictures (eq. 2).

        x-pred builds prediction and target with the same clamp of 1 − t, so the error of z0 is
        weighted by 1 / max(1 − t, 0.05)² (JiT). `total` sums over ranks, see Routing.load.
        """
        t_I11 = batch.t_I[:, None, None]
        z_ITC = flow.noisy(batch.latents_ITC, batch.noise_ITC, t_I11)
        routing = Routing() if with_balance and self.config.feed_forward == "moe" else None
        hidden_BSD = self.hidden(batch, z_ITC, routing=routing)
        flat_ND = hidden_BSD.flatten(0, 1)
        target_N = batch.targets_BS.flatten()
        index = (target_N != IGNORED).nonzero().squeeze(1)
        logits = self.text_head(flat_ND[index]).float()
        nats = F.cross_entropy(logits, target_N[index], reduction="none")
        weight = batch.weights_BS.flatten()[index]

        counted = batch.flow_I.nonzero().squeeze(1)
        out = self.latent_out(flat_ND[batch.index_IT[counted].flatten()])
        shape = (len(counted), *batch.latents_ITC.shape[1:])
        z, t = z_ITC[counted], t_I11[counted]
        velocity = self.velocity(out.view(shape), z, t, clamp=flow.CLAMP)
        target = batch.latents_ITC[counted] - batch.noise_ITC[counted]
        if self.config.prediction == "x":
            target = flow.velocity_from_x(batch.latents_ITC[counted], z, t)
        error_I = (velocity - target).square().mean((1, 2))
        balance, load_LE = flat_ND.new_zeros((), dtype=torch.float32), None
        if routing is not None:
            valid_N = batch.valid_BS.flatten()
            load_LE = routing.load(valid_N, total=total)
            balance = routing.balance_loss(valid_N, load_LE=load_LE)
        return Losses(
            text_sum=(nats * weight).sum(),
            text_count=weight.sum(),
            flow_sum=error_I.sum(),
            flow_count=torch.tensor(len(counted), device=flat_ND.device),
            balance=balance,
            terms=Terms(
                target_M=index,
                nats_M=nats.detach(),
                weight_M=weight,
                picture_I=counted,
                error_I=error_I.detach(),
                load_LE=load_LE,
            ),
        )
