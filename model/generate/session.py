"""Rows of a cache that grow by text and by pictures.

The context is encoded once into a preallocated cache. A picture is denoised in place behind it and
then written to the cache once more, clean, so that what follows sees the finished picture and not
the last noisy one.

Shapes: R rows of a session, S new tokens, T tokens a picture, C latent channels, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unimm_eval.model.attention import AttentionContext, KVCache
from unimm_eval.model.masks import DenseMask, Visible
from unimm_eval.model.modality import IMAGE, TEXT
from unimm_eval.model.sequence import Document, document_length, pack
from unimm_eval.model.unified import UnifiedModel


class Session:
    """Rows of a cache, each holding a context of its own length.

    `last_RD` is the final hidden state of each row's last token.
    """

    def __init__(
        self,
        model: UnifiedModel,
        documents: Sequence[Document],
        *,
        new_tokens: int | Sequence[int],
        pad: int,
    ) -> None:
        """Encode `documents` (pictures clean), leaving room for `new_tokens` behind each.

        Raises ValueError when that does not fit the model's max_length.
        """
        self.model, self.pad = model, pad
        device = model.embedding.weight.device
        lengths = [document_length(document) for document in documents]
        longest = max(lengths)
        room = [new_tokens] * len(lengths) if isinstance(new_tokens, int) else new_tokens
        self.cache = KVCache(
            model.config,
            rows=len(documents),
            capacity=max(length + new for length, new in zip(lengths, room, strict=True)),
            device=device,
            dtype=model.embedding.weight.dtype,
        )
        batch = pack(
            [[document] for document in documents],
            length=longest,
            pad=pad,
            grid_tokens=model.config.latent_tokens,
            channels=model.config.latent_channels,
            understanding_channels=model.config.understanding_channels,
        ).to(device)
        hidden_RSD = model.hidden(batch, batch.latents_ITC, cache=self.cache)
        self.cache.advance(torch.tensor(lengths, device=device))
        self.last_RD = hidden_RSD[torch.arange(len(documents)), self.cache.lengths_B - 1]
        self._behind: AttentionContext | None = None  # of pictures, until the rows grow

    def select(self, rows: Sequence[int], *, new_tokens: int) -> "Session":
        """A session of its own that goes on from `rows` of this one (they may repeat), with room
        for `new_tokens` behind the longest: what they share is encoded once.

        Raises ValueError when that does not fit the model's max_length.
        """
        return Session.gather([(self, row) for row in rows], new_tokens=[new_tokens] * len(rows))

    @classmethod
    def gather(
        cls, picked: Sequence[tuple["Session", int]], *, new_tokens: Sequence[int]
    ) -> "Session":
        """A session of its own that goes on from (session, row) pairs of one model, which may
        repeat, each with room for at least its number of `new_tokens`.

        Raises ValueError when that does not fit the model's max_length.
        """
        lengths: dict[int, list[int]] = {}
        for session, _ in picked:
            if id(session) not in lengths:
                lengths[id(session)] = session.cache.lengths_B.tolist()
        capacity = max(
            lengths[id(session)][row] + tokens
            for (session, row), tokens in zip(picked, new_tokens, strict=True)
        )
        first = picked[0][0]
        made = object.__new__(cls)
        made.model, made.pad = first.model, first.pad
        made.cache = KVCache.gather([(one.cache, row) for one, row in picked], capacity=capacity)
        made.last_RD = torch.stack([session.last_RD[row] for session, row in picked])
        made._behind = None
        return made

    def logits(self) -> Tensor:
        """fp32 [R, V] for the next token of each row."""
        return self.model.text_head(self.last_RD).float()

    def append(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Append each row's token ids, in one pass; a row without any stays as it is.

        Returns the final hidden states [R, S, D] of the new tokens; those of a row with fewer than
        S are behind its own of no meaning. Raises ValueError, and changes nothing, when a row has
        no room for its own.
        """
        device = self.last_RD.device
        longest = max(map(len, texts))
        if not longest:
            return self.last_RD.new_zeros(len(texts), 0, self.last_RD.shape[1])
        # A shorter text repeats its last token in that token's place, which needs no room.
        filled = [[*ids, *[ids[-1] if ids else self.pad] * (longest - len(ids))] for ids in texts]
        count_R = torch.tensor([len(ids) for ids in texts], device=device)
        self.cache.check_room(count_R)
        last_R = (count_R - 1).clamp(min=0)
        place_RS = torch.minimum(torch.arange(longest, device=device), last_R[:, None])
        index_RS = self.cache.lengths_B[:, None] + place_RS
        x_RSD = self.model.embedding(torch.tensor(filled, device=device))
        hidden_RSD = self._run(x_RSD, self._context(index_RS, last_RS=index_RS), TEXT)
        self._grow(hidden_RSD[torch.arange(len(texts), device=device), last_R], count_R)
        return hidden_RSD

    def denoise(self, z_RTC: Tensor, t: Tensor) -> Tensor:
        """fp32 velocity [R, T, C] of pictures behind the rows, at one time `t` (0-d) for all.

        Raises ValueError when a row has no room for one.
        """
        if self._behind is None:
            self.cache.check_room(z_RTC.shape[1])
        x_RTD = self.model.embed_latents(z_RTC, t.expand(len(z_RTC)))
        prediction = self.model.latent_out(self._picture(x_RTD))
        # A solver never asks at t = 1, so 1 − t needs no clamp and the last step lands on x̂.
        return self.model.velocity(prediction, z_RTC, t, clamp=0.0)

    def commit(self, z_PTC: Tensor, rows: Sequence[int]) -> None:
        """Append a finished picture, clean, to each of `rows`; the others stay as they are.

        Raises ValueError, and changes nothing, when one of `rows` has no room for it.
        """
        if not rows:
            return
        index = torch.tensor(rows, device=z_PTC.device)
        tokens_R = torch.zeros_like(self.cache.lengths_B)
        tokens_R[index] = z_PTC.shape[1]
        self.cache.check_room(tokens_R)
        new_PTD = self.model.embed_finished(z_PTC)
        x_RTD = new_PTD.new_zeros(len(tokens_R), *new_PTD.shape[1:])
        x_RTD[index] = new_PTD
        self._grow(self._picture(x_RTD)[:, -1], tokens_R)

    def _grow(self, last_RD: Tensor, tokens_R: Tensor) -> None:
        """Let so many new tokens of each row stand, `last_RD` the last of them."""
        self.last_RD = torch.where(tokens_R[:, None] > 0, last_RD, self.last_RD)
        self.cache.advance(tokens_R)
        self._behind = None

    def _picture(self, x_RTD: Tensor) -> Tensor:
        """Hidden states of a picture behind each row; its tokens see each other."""
        if self._behind is None:
            tokens = x_RTD.shape[1]
            start_R1 = self.cache.lengths_B[:, None]
            index_RT = start_R1 + torch.arange(tokens, device=x_RTD.device)
            last_RT = (start_R1 + tokens - 1).expand_as(index_RT)
            self._behind = self._context(index_RT, last_RS=last_RT)
        return self._run(x_RTD, self._behind, IMAGE)

    def _context(self, index_RS: Tensor, *, last_RS: Tensor) -> AttentionContext:
        """Of new tokens at `index_RS` of each row, which see everything up to `last_RS`."""
        cache = self.cache
        width = min(int(cache.lengths_B.max()) + index_RS.shape[1], cache.capacity)
        visible = Visible(first_BS=torch.zeros_like(index_RS), last_BS=last_RS)
        return AttentionContext(
            rotary=self.model.rotary(index_RS),
            mask=DenseMask.of(visible, num_keys=width, dtype=cache.keys.dtype),
            cache=cache,
            index_BS=index_RS,
            width=width,
        )

    def _run(self, x_RSD: Tensor, context: AttentionContext, modality: int) -> Tensor:
        """Hidden states of new tokens, which do not count yet."""
        modality_RS = torch.full(x_RSD.shape[:2], modality, device=x_RSD.device)
        return self.model.backbone(x_RSD, context, modality_RS)
