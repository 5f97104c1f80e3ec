"""Log-likelihoods of text under our checkpoints.

Shapes: N scored tokens of a pass, P of them at once, R continuations of one context, S tokens of
the longest, D model width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unimm_eval.adapters import unimm
from unimm_eval.adapters.windows import Window, passes, sharing
from unimm_eval.model.generate import Session
from unimm_eval.model.sequence import IGNORED, TextSegment
from unimm_eval.model.unified import UnifiedModel

SHARED_TOKENS = 64
"""Tokens that must be saved for a context to be encoded by itself, once for its continuations."""

Scored = tuple[float, bool]
"""−log p of a window's scored tokens, and whether each of them was the likeliest."""


class TextScores:
    """Scores windows of one model; `pack` makes a batch of documents, one a row."""

    def __init__(self, model: UnifiedModel, *, pad: int, pack: Callable[..., Any]) -> None:
        self._model, self._pad, self._pack = model, pad, pack

    @torch.inference_mode()
    def score(self, windows: Sequence[Window]) -> list[Scored]:
        """Continuations of a context that comes often are scored behind its cache, the others
        whole; which is which depends on `windows` alone."""
        results = [(0.0, True)] * len(windows)
        groups, others = sharing(windows, least=SHARED_TOKENS)
        for rows in groups:
            longest = max(len(windows[row].scored) for row in rows)
            each = max(1, unimm.PASS_TOKENS // (len(windows[rows[0]].context) + longest))
            session = self._session(windows[rows[0]].context)
            for start in range(0, len(rows), each):
                some = rows[start : start + each]
                texts = [windows[row].scored for row in some]
                results_of = zip(some, self._behind(session, texts), strict=True)
                for row, result in results_of:
                    results[row] = result
        lengths = [len(windows[row].context) + len(windows[row].scored) for row in others]
        for picked in passes(lengths, tokens=unimm.PASS_TOKENS):
            some = [others[place] for place in picked]
            for row, result in zip(some, self._pass([windows[row] for row in some]), strict=True):
                results[row] = result
        return results

    def _session(self, context: Sequence[int]) -> Session:
        document = [TextSegment(ids=context, loss=False)]
        return Session(self._model, [document], new_tokens=0, pad=self._pad)

    def _behind(self, session: Session, texts: Sequence[Sequence[int]]) -> list[Scored]:
        """`texts` behind the one row of `session`, which stays as it is."""
        longest = max(map(len, texts))
        rows = session.select([0] * len(texts), new_tokens=longest - 1)
        first_R1D = rows.last_RD[:, None]
        hidden_RSD = torch.cat([first_R1D, rows.append([text[:-1] for text in texts])], dim=1)
        counts = [len(text) for text in texts]
        hidden_ND = torch.cat(
            [hidden_SD[:n] for hidden_SD, n in zip(hidden_RSD, counts, strict=True)]
        )
        target_N = torch.tensor([token for text in texts for token in text])
        return self._likelihoods(hidden_ND, target_N.to(hidden_ND.device), counts)

    def _pass(self, windows: Sequence[Window]) -> list[Scored]:
        """Windows that fit in memory together, each as a whole."""
        documents = [
            [TextSegment(ids=w.context, loss=False), TextSegment(ids=w.scored)] for w in windows
        ]
        batch = self._pack(documents)
        hidden_BSD = self._model.hidden(batch, batch.latents_ITC)
        scored_BS = batch.targets_BS != IGNORED
        counts = [len(window.scored) for window in windows]
        return self._likelihoods(hidden_BSD[scored_BS], batch.targets_BS[scored_BS], counts)

    def _likelihoods(
        self, hidden_ND: Tensor, target_N: Tensor, counts: Sequence[int]
    ) -> list[Scored]:
        logp, greedy = [], []
        part = max(1, unimm.PASS_LOGITS // self._model.config.vocab_size)
        for hidden_PD, target_P in zip(hidden_ND.split(part), target_N.split(part), strict=True):
            logits_PV = self._model.text_head(hidden_PD).float()
            logp.append(logits_PV.log_softmax(-1).gather(1, target_P[:, None]).squeeze(1))
            greedy.append(logits_PV.argmax(-1) == target_P)
        nats = [-float(part.double().sum()) for part in torch.cat(logp).cpu().split(list(counts))]
        likeliest = [bool(hits.all()) for hits in torch.cat(greedy).cpu().split(list(counts))]
        return list(zip(nats, likeliest, strict=True))
