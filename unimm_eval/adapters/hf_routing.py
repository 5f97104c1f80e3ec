"""Which experts the routers of transformers' mixtures choose for text.

Shapes: R rows, S tokens a row, N = R·S, K choices a token, L layers with routers, E experts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters import hf
from unimm_eval.adapters.windows import Window, passes, rolling_windows
from unimm_eval.api import (
    CaptionRequest,
    DenoiseRequest,
    DocumentRequest,
    RoutingCounts,
    SampleError,
    UserError,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_LOGITS, _CHOICES = 0, -1
"""Where a router of transformers (`…TopKRouter`) returns what: [N, E], and integers [N, K]."""


def may_route(config: Any) -> bool:
    """Whether a configuration is one of a mixture of experts whose routers can be heard."""
    text = config.get_text_config()
    return hasattr(text, "output_router_logits") and hasattr(text, "num_experts_per_tok")


def routers_of(model: Any) -> list[Any]:
    """The routers of a model, one a layer that has one, in their order."""
    return [
        module for module in model.modules() if type(module).__name__.lower().endswith("router")
    ]


class HubMixture(hf.HubModel):
    """A language model with experts, whose routers can be asked."""

    def routing(
        self, requests: Sequence[DocumentRequest | DenoiseRequest | CaptionRequest]
    ) -> list[RoutingCounts]:
        """Every token of a text is counted once, in the layers that have a router; the token for a
        text's beginning and repeated context are not. Shared experts have no router. Raises
        SampleError for a picture."""
        import numpy as np

        rows: list[tuple[int, Window]] = []
        for index, request in enumerate(requests):
            if not isinstance(request, DocumentRequest):
                raise SampleError(
                    f"Sample {request.sample_id} has a picture, and {self.name} reads text alone.",
                    fix="Use experts:text, which shows no pictures.",
                )
            rows += [(index, window) for window in self._windows(request)]
        counts: np.ndarray | None = None
        top_k = 0
        lengths = [len(window.context) + len(window.scored) for _, window in rows]
        for picked in passes(lengths, tokens=hf.PASS_TOKENS):
            logits, choices = self._heard([rows[place][1] for place in picked])
            if counts is None:
                counts = np.zeros((len(requests), len(choices), logits, 1, 1, 1), dtype=np.int64)
                top_k = choices[0].shape[-1]
            for layer, choice_RSK in enumerate(choices):
                for place, choice_SK in zip(picked, choice_RSK, strict=True):
                    index, window = rows[place]
                    own = choice_SK[len(window.context) : lengths[place]].flatten()
                    counts[index, layer, :, 0, 0, 0] += np.bincount(own, minlength=logits)
        if counts is None:  # nothing but empty texts
            return [_nothing() for _ in requests]
        return [
            RoutingCounts(counts=of_request, top_k=top_k, modalities=("text",), purposes=("text",))
            for of_request in counts
        ]

    def _windows(self, request: DocumentRequest) -> list[Window]:
        (ids,) = self._tokens.encode([request.text])
        longest = min(request.max_length, self._tokens.most)
        return rolling_windows(
            ids,
            prefix=self._tokens.prefix,
            max_length=max(1, longest - 1),  # the last token is given, too
            overlap=min(request.overlap, max(0, longest - 2)),
        )

    def _heard(self, windows: Sequence[Window]) -> "tuple[int, list[np.ndarray]]":
        """E, and by layer the choices int [R, S, K] of one pass. Rows are padded on the right,
        which a causal model does not see."""
        import torch

        rows = [[*window.context, *window.scored] for window in windows]
        longest = max(map(len, rows))
        pad = self._tokens.pad
        ids_RS = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        keep = {"logits_to_keep": 1} if self._keeps else {}
        with torch.inference_mode(), _listening(self._model) as heard:
            self._model(input_ids=ids_RS.to(self._model.device), use_cache=False, **keep)
        found = []
        for _, choices_NK in heard:
            found.append(choices_NK.view(len(rows), longest, -1).cpu().numpy())
        return heard[0][0].shape[-1], found


@contextmanager
def _listening(model: Any) -> "Iterator[list[tuple[Tensor, Tensor]]]":
    """Inside, what each router says, in the order in which they run. Raises UserError for routers
    that do not say which experts they choose."""
    heard: list[tuple[Tensor, Tensor]] = []

    def hear(router: Any, given: Any, said: Any) -> None:
        choices = said[_CHOICES] if isinstance(said, tuple) else None
        if choices is None or choices.is_floating_point() or choices.ndim != 2:
            raise UserError(
                f"The routers of this model ({type(router).__name__}) do not say which experts "
                "they choose.",
                fix="Leave the task out.",
            )
        heard.append((said[_LOGITS], choices))

    hooks = [router.register_forward_hook(hear) for router in routers_of(model)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _nothing() -> RoutingCounts:
    import numpy as np

    empty = np.zeros((0, 0, 1, 1, 1), dtype=np.int64)
    return RoutingCounts(counts=empty, top_k=1, modalities=("text",), purposes=("text",))
