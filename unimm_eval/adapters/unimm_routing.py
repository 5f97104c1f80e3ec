"""Which experts the routers of our checkpoints choose, by modality, time and purpose.

Shapes: B rows, S tokens a row, N = B·S, K choices a token, L layers, E routed experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unimm_eval.adapters import unimm
from unimm_eval.adapters.windows import passes, rolling_windows
from unimm_eval.api import (
    CaptionRequest,
    DenoiseRequest,
    DocumentRequest,
    RoutingCounts,
)
from unimm_eval.model import flow
from unimm_eval.model.feedforward import Routing
from unimm_eval.model.sequence import TextSegment, describe_document, document_length

if TYPE_CHECKING:
    from unimm_eval.model.sequence import Batch, Document

MODALITIES = ("text", "image")
PURPOSES = ("text", "generation", "understanding")
T_BINS = 10
"""Bins of the time a picture is shown at (paper §6.2)."""


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A document to run, of which tokens from index `first` on are counted."""

    document: "Document"
    purpose: str
    first: int = 0


class UnimmMixture(unimm.UnimmCheckpoint):
    """A checkpoint with experts, whose routers can be asked."""

    def routing(
        self, requests: Sequence[DocumentRequest | DenoiseRequest | CaptionRequest]
    ) -> list[RoutingCounts]:
        """Every token of every request is counted once, special ones too, but for the `<bos>` and
        the repeated context that a window of a long document begins with.

        A DenoiseRequest shows its noisy picture behind its caption, a CaptionRequest its clean
        picture before it (paper E.8). Raises UserError for what does not fit.
        """
        config = self._files.config
        counts = np.zeros(
            (
                len(requests),
                config.num_layers,
                config.num_routed,
                len(MODALITIES),
                T_BINS,
                len(PURPOSES),
            ),
            dtype=np.int64,
        )
        shown = [
            (index, one) for index, request in enumerate(requests) for one in self._shown(request)
        ]
        lengths = [document_length(one.document) for _, one in shown]
        for rows in passes(lengths, tokens=unimm.PASS_TOKENS):
            found = self._count([shown[row][1] for row in rows]).cpu().numpy()
            for row, of_row in zip(rows, found, strict=True):
                counts[shown[row][0]] += of_row.reshape(counts.shape[1:])
        return [
            RoutingCounts(
                counts=of_request,
                top_k=config.routed_top_k,
                modalities=MODALITIES,
                purposes=PURPOSES,
            )
            for of_request in counts
        ]

    def _shown(
        self, request: DocumentRequest | DenoiseRequest | CaptionRequest
    ) -> Sequence[_Shown]:
        if isinstance(request, DenoiseRequest):
            (document,) = self._denoise_documents([request])
            return [_Shown(document=document, purpose="generation")]
        if isinstance(request, CaptionRequest):
            picture = self._clean(request.picture)
            described = describe_document(self._tokenizer, request.caption, picture)
            self._check_fits(request, document_length(described))
            return [_Shown(document=described, purpose="understanding")]
        windows = rolling_windows(
            self._tokenizer.encode(request.text),
            prefix=self._tokenizer.bos,
            max_length=min(request.max_length, self._files.config.max_length),
            overlap=request.overlap,
        )
        return [
            _Shown(
                document=[TextSegment(ids=[*window.context, *window.scored])],
                purpose="text",
                first=len(window.context),
            )
            for window in windows
        ]

    @torch.inference_mode()
    def _count(self, shown: Sequence[_Shown]) -> Tensor:
        """Counts int64 [B, L, E·modalities·bins·purposes] of one forward pass."""
        batch: Batch = self._pack([one.document for one in shown])
        z_ITC = flow.noisy(batch.latents_ITC, batch.noise_ITC, batch.t_I[:, None, None])
        routing = Routing()
        self._model.hidden(batch, z_ITC, routing=routing)
        purpose_B = torch.tensor([PURPOSES.index(one.purpose) for one in shown])
        first_B = torch.tensor([one.first for one in shown])
        counted_BS = batch.valid_BS & (batch.positions_BS >= first_B.to(self._device)[:, None])
        t_N = batch.modality_BS.flatten().float()  # a picture is clean unless it has a time
        t_N[batch.index_IT] = batch.t_I[:, None]
        bin_N = (t_N * T_BINS).long().clamp(max=T_BINS - 1)
        # One number for (modality, bin, purpose), and with the expert before it for every cell.
        purpose_N = purpose_B.to(self._device)[:, None].expand_as(counted_BS).flatten()
        tag_N = (batch.modality_BS.flatten() * T_BINS + bin_N) * len(PURPOSES) + purpose_N
        tags = len(MODALITIES) * T_BINS * len(PURPOSES)
        cells = self._files.config.num_routed * tags
        row_N = torch.arange(len(shown), device=self._device).repeat_interleave(counted_BS.shape[1])
        index_M = counted_BS.flatten().nonzero().squeeze(1)
        # One number for (row, expert, tag), but for the expert, which differs from layer to layer.
        cell_M1 = (row_N * cells + tag_N)[index_M, None]
        return torch.stack(
            [
                torch.bincount(
                    (choice_NK[index_M] * tags + cell_M1).flatten(), minlength=len(shown) * cells
                ).view(len(shown), cells)
                for choice_NK in routing.choices
            ],
            dim=1,
        )
