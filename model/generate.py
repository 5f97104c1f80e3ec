"""Generation from a cache: text, pictures, and both in one sequence (paper appendix B, E.3).

The context is encoded once into a preallocated cache. A picture is denoised in place behind it, the
guided and the unguided half of a batch in one forward pass a step, and then written to the cache
once more, clean, so that what follows sees the finished picture and not the last noisy one.

Shapes: R rows of a session, S new tokens, T tokens a picture, C latent channels, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unimm_eval.model import flow
from unimm_eval.model.attention import AttentionContext, KVCache, Visible
from unimm_eval.model.feedforward import IMAGE, TEXT
from unimm_eval.model.sequence import Document, PictureSegment, TextSegment, document_length, pack
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel


class Session:
    """Rows of a cache, each holding a context of its own length, that grow token by token.

    `last_RD` is the final hidden state of each row's last token.
    """

    def __init__(
        self, model: UnifiedModel, documents: Sequence[Document], *, new_tokens: int, pad: int
    ) -> None:
        """Encode `documents` (pictures clean), leaving room for `new_tokens` a row.

        Raises ValueError when that does not fit the model's max_length.
        """
        self.model = model
        device = model.embedding.weight.device
        lengths = [document_length(document) for document in documents]
        longest = max(lengths)
        self.cache = KVCache(
            model.config,
            rows=len(documents),
            capacity=longest + new_tokens,
            device=device,
            dtype=model.embedding.weight.dtype,
        )
        batch = pack(
            [[document] for document in documents],
            length=longest,
            pad=pad,
            grid_tokens=model.config.latent_tokens,
            channels=model.config.latent_channels,
        ).to(device)
        hidden_RSD = model.hidden(batch, batch.latents_ITC, cache=self.cache)
        self.cache.advance(torch.tensor(lengths, device=device))
        self.last_RD = hidden_RSD[torch.arange(len(documents)), self.cache.lengths_B - 1]

    def logits(self) -> Tensor:
        """fp32 [R, V] for the next token of each row."""
        return self.model.text_head(self.last_RD).float()

    def feed(self, ids_R: Tensor, active_R: Tensor) -> None:
        """Append one token to each active row; the others stay as they are."""
        hidden_RSD = self._forward(self.model.embedding(ids_R[:, None]), TEXT)
        self.last_RD = torch.where(active_R[:, None], hidden_RSD[:, 0], self.last_RD)
        self.cache.advance(active_R.long())

    def denoise(self, z_RTC: Tensor, t: Tensor) -> Tensor:
        """fp32 velocity [R, T, C] of pictures behind the rows, at one time `t` (0-d) for all."""
        x_RTD = self.model.embed_latents(z_RTC, t.expand(len(z_RTC)))
        prediction = self.model.latent_out(self._forward(x_RTD, IMAGE))
        # A solver never asks at t = 1, so 1 − t needs no clamp and the last step lands on x̂.
        return self.model.velocity(prediction, z_RTC, t, clamp=0.0)

    def commit(self, z_RTC: Tensor, active_R: Tensor) -> None:
        """Append finished pictures, clean, to the active rows."""
        x_RTD = self.model.embed_latents(z_RTC, z_RTC.new_ones(len(z_RTC)))
        hidden_RTD = self._forward(x_RTD, IMAGE)
        self.last_RD = torch.where(active_R[:, None], hidden_RTD[:, -1], self.last_RD)
        self.cache.advance(active_R.long() * z_RTC.shape[1])

    def _forward(self, x_RSD: Tensor, modality: int) -> Tensor:
        """Hidden states of new tokens behind each row, not yet counted. Image tokens see each
        other; text comes one token at a time."""
        rows, new, _ = x_RSD.shape
        start_R1 = self.cache.lengths_B[:, None]
        index_RS = start_R1 + torch.arange(new, device=x_RSD.device)
        width = int(self.cache.lengths_B.max()) + new
        last_RS = index_RS if modality == TEXT else (start_R1 + new - 1).expand(rows, new)
        visible = Visible(first_BS=torch.zeros_like(index_RS), last_BS=last_RS)
        context = AttentionContext(
            rotary=self.model.rotary(index_RS),
            mask=visible.dense(width),
            cache=self.cache,
            index_BS=index_RS,
            width=width,
        )
        modality_RS = torch.full_like(index_RS, modality)
        return self.model.backbone(x_RSD, context, modality_RS)


def seeded_noise(seeds: Sequence[int], *, tokens: int, channels: int) -> Tensor:
    """Standard normal [R, T, C]; each row from its own seed, on the CPU, so that neither batch nor
    device changes it."""
    return torch.stack(
        [
            torch.randn(tokens, channels, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    )


def solve(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, num_steps: int, alpha: float
) -> Tensor:
    """Euler from t = 0 to exactly t = 1 in `num_steps` evaluations of velocity(z, t)."""
    times = flow.euler_times(num_steps, alpha, device=noise.device)
    z = noise
    for t, following in pairwise(times):
        z = z + (following - t) * velocity(z, t)
    return z


def guided(session: Session, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Classifier-free guidance v_u + s·(v_c − v_u) on a session whose first half of rows has the
    condition and whose second half has not."""

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = session.denoise(torch.cat((z, z)), t).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return velocity


def unconditional(tokenizer: Tokenizer) -> Document:
    """What training showed when it dropped the condition."""
    return [TextSegment(ids=[tokenizer.bos, tokenizer.boi], loss=False)]


@torch.inference_mode()
def generate_pictures(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    guidance_scale: float,
    num_inference_steps: int,
) -> Tensor:
    """Latents fp32 [prompts, T, C] of one picture a prompt."""
    documents: list[Document] = [
        [TextSegment(ids=[tokenizer.bos, *tokenizer.encode(prompt), tokenizer.boi])]
        for prompt in prompts
    ]
    documents += [unconditional(tokenizer)] * len(prompts)
    config = model.config
    session = Session(model, documents, new_tokens=config.latent_tokens, pad=tokenizer.pad)
    noise = seeded_noise(seeds, tokens=config.latent_tokens, channels=config.latent_channels)
    return solve(
        guided(session, guidance_scale),
        noise.to(model.embedding.weight.device),
        num_steps=num_inference_steps,
        alpha=model.alpha,
    )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, otherwise from the smallest set of
    tokens that holds `top_p` of the probability."""

    temperature: float = 0.0
    top_p: float = 1.0

    def next(self, logits_V: Tensor, generator: torch.Generator) -> int:
        if self.temperature == 0:
            return int(logits_V.argmax())
        p_V, token_V = (logits_V / self.temperature).softmax(-1).cpu().sort(descending=True)
        kept = p_V.cumsum(0) - p_V < self.top_p
        return int(token_V[torch.multinomial(p_V * kept, 1, generator=generator)])


@torch.inference_mode()
def generate_text(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    sampling: Sequence[Sampling],
    finished: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """Ids that continue each document, without the `<eot>`, `<eos>` or `<boi>` that ends it.

    `finished(row, ids)` may end a row earlier (stop strings).
    """
    session = Session(model, documents, new_tokens=max_new_tokens, pad=tokenizer.pad)
    device = session.last_RD.device
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    ends = {tokenizer.eot, tokenizer.eos, tokenizer.boi}
    texts: list[list[int]] = [[] for _ in documents]
    active = [True] * len(documents)
    for _ in range(max_new_tokens):
        logits_RV = session.logits()
        chosen = [tokenizer.pad] * len(documents)
        for row in range(len(documents)):
            if active[row]:
                chosen[row] = sampling[row].next(logits_RV[row], generators[row])
                if chosen[row] in ends:
                    active[row] = False
                else:
                    texts[row].append(chosen[row])
                    active[row] = not finished(row, texts[row])
        if not any(active):
            break
        session.feed(torch.tensor(chosen, device=device), torch.tensor(active, device=device))
    return texts


@torch.inference_mode()
def choose_text(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    choices: Sequence[Sequence[str]],
) -> list[int]:
    """Index of the choice that greedy decoding takes when only choices (and their `<eot>`) are
    allowed."""
    options = [[[*tokenizer.encode(text), tokenizer.eot] for text in texts] for texts in choices]
    depth = max(len(ids) for texts in options for ids in texts)
    session = Session(model, documents, new_tokens=depth, pad=tokenizer.pad)
    device = session.last_RD.device
    alive = [list(range(len(texts))) for texts in options]
    for position in range(depth):
        if all(len(rows) == 1 for rows in alive):
            break
        logits_RV = session.logits()
        chosen = [tokenizer.pad] * len(documents)
        for row, left in enumerate(alive):
            allowed = sorted({options[row][i][position] for i in left if len(left) > 1})
            if allowed:
                best = allowed[int(logits_RV[row, allowed].argmax())]
                chosen[row] = best
                alive[row] = [i for i in left if options[row][i][position] == best]
        session.feed(
            torch.tensor(chosen, device=device),
            torch.tensor([len(left) > 1 for left in alive], device=device),
        )
    return [left[0] for left in alive]


@torch.inference_mode()
def generate_interleaved(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    document: Document,
    *,
    seed: int,
    max_new_tokens: int,
    sampling: Sampling,
    guidance_scale: float,
    num_inference_steps: int,
) -> Document:
    """Continue a document with text and pictures until `<eos>`, `<eot>` or `max_new_tokens`.

    On `<boi>` text stops, a picture is denoised and committed, `<eoi>` follows and text goes on.
    """
    tokens, channels = model.config.latent_tokens, model.config.latent_channels
    # Row 0 is the document; row 1 never grows and is what guidance steers away from.
    documents = [document, unconditional(tokenizer)]
    session = Session(model, documents, new_tokens=max_new_tokens, pad=tokenizer.pad)
    device = session.last_RD.device
    only_first = torch.tensor([True, False], device=device)
    generator = torch.Generator().manual_seed(seed)
    result: list[TextSegment | PictureSegment] = []
    ids: list[int] = []
    left = max_new_tokens
    while left > 0:
        token = sampling.next(session.logits()[0], generator)
        if token in (tokenizer.eos, tokenizer.eot):
            break
        picture_follows = token == tokenizer.boi and left >= tokens + 2
        if token == tokenizer.boi and not picture_follows:
            break
        ids.append(token)
        session.feed(torch.tensor([token, tokenizer.pad], device=device), only_first)
        left -= 1
        if picture_follows:
            noise = torch.randn(1, tokens, channels, generator=generator).to(device)
            z = solve(
                guided(session, guidance_scale),
                noise,
                num_steps=num_inference_steps,
                alpha=model.alpha,
            )
            session.commit(torch.cat((z, z)), only_first)
            session.feed(torch.tensor([tokenizer.eoi, tokenizer.pad], device=device), only_first)
            result += [TextSegment(ids=ids), PictureSegment(latents=z[0].cpu().numpy())]
            ids = [tokenizer.eoi]
            left -= tokens + 1
    return [*result, TextSegment(ids=ids)] if ids else result
