"""`hf:`: models of transformers that write text, from the hub at a revision or from a folder.

Which of them can be shown pictures is decided from their configuration (`hf_vision`).
"""

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters.hf_chat import HubChat
from unimm_eval.adapters.hf_files import (
    PREFIX,
    FromFiles,
    HubSource,
    Origin,
    check_weights,
    load_weights,
    read_config,
    refused,
)
from unimm_eval.adapters.hf_tokens import HubTokens
from unimm_eval.adapters.windows import Window, passes, rolling_windows, sharing
from unimm_eval.api import (
    READS_PICTURES,
    ChatRequest,
    ContinuationRequest,
    DocumentRequest,
    SampleError,
    TextScore,
)

if TYPE_CHECKING:
    from torch import Tensor

PASS_TOKENS = 8192
"""Tokens, padding included, that one forward pass is given, and at least one row."""
PASS_LOGITS = 2**30
"""Logits of one forward pass, and at least one row: 2 GiB in bfloat16."""
SHARED_TOKENS = 256
"""Tokens that must be saved for a context to be encoded by itself, once for its continuations."""
SPARE = {"cpu": 32, "accelerator": 1024}
"""Tokens of padding in a pass: about what beginning another pass costs there."""
_PART_LOGITS = 2**22
"""Logits that are turned into log-probabilities at once, in fp32: they stay in the cache."""


class HubModel(FromFiles):
    """A causal language model with its tokenizer: scores text and continues it.

    Tokens are what lm-eval makes of a text, so that numbers of both compare.
    """

    summary = "text and vision-language models of transformers, from the hub or from a folder"
    examples: tuple[str, ...] = ("hf:ORG/NAME", "hf:ORG/NAME@REVISION", "hf:path/to/folder")
    capabilities = frozenset({"ScoresText", "GeneratesText", READS_PICTURES, "ExposesRouting"})
    reads_pictures = False

    def __init__(self, model: Any, tokenizer: Any, *, origin: Origin) -> None:
        """Raises UserError when the tokenizer has no token that a text can begin with."""
        super().__init__(origin)
        self._model = model
        self._tokens = HubTokens(tokenizer, model.config, name=self.name)
        self._chat = HubChat(model, self._tokens, name=self.name)
        self._vocab_size: int = model.get_output_embeddings().weight.shape[0]
        # Whether what a context left in the cache can be gone on from, for several continuations.
        self._shares: bool = not getattr(model, "_is_stateful", False)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(PREFIX)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        from unimm_eval.adapters.hf_routing import may_route
        from unimm_eval.adapters.hf_vision import reads_pictures

        source = HubSource.parse(spec)
        folder = source.fetch(weights=False)
        config = read_config(source, folder)
        reads = {READS_PICTURES} if reads_pictures(source, folder, config) else set[str]()
        if source.is_folder:
            check_weights(source, folder)
        routes = {"ExposesRouting"} if may_route(config) else set[str]()
        return frozenset({"ScoresText", "GeneratesText", *reads, *routes})

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "HubModel":
        """`dtype` "auto" is the one that the checkpoint was saved in. Raises UserError."""
        import transformers

        from unimm_eval.adapters.hf_routing import HubMixture, routers_of
        from unimm_eval.adapters.hf_vision import load_vision, reads_pictures

        source = HubSource.parse(spec)
        folder = source.fetch(weights=True)
        config = read_config(source, folder)
        if reads_pictures(source, folder, config):
            return load_vision(source, folder, config, device=device, dtype=dtype)
        network: Any = transformers.AutoModelForCausalLM
        model = load_weights(source, folder, config, network=network, device=device, dtype=dtype)
        with refused(source):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        made = HubMixture if routers_of(model) else cls
        return made(model, tokenizer, origin=source.origin(folder))

    def describe(self) -> Mapping[str, Any]:
        config = self._model.config
        return {
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "vocab_size": self._vocab_size,
            "max_length": self._tokens.max_length,
            "architecture": config.model_type,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "chat_template": bool(self._tokens.tokenizer.chat_template),
            **self._origin.facts,
        }

    def score_continuations(self, requests: Sequence[ContinuationRequest]) -> list[TextScore]:
        """Spaces that end a context belong to its continuation; token boundaries are those of both
        together; a context that does not fit loses its beginning. Raises SampleError when the
        continuation alone does not fit, or is no token."""
        windows = [self._window(request) for request in requests]
        scored = self._score(windows, greedy=True)
        return [
            TextScore(
                nats=nats,
                tokens=len(window.scored),
                bytes=len(request.continuation.encode()),
                is_greedy=greedy,
            )
            for request, window, (nats, greedy) in zip(requests, windows, scored, strict=True)
        ]

    def score_documents(self, requests: Sequence[DocumentRequest]) -> list[TextScore]:
        """Documents are scored without the tokens that the tokenizer would put around them, from
        its first token on, which is predicted from the token for a text's beginning."""
        texts = [request.text for request in requests]
        encoded = self._tokens.encode(texts)
        windows: list[Window] = []
        counts = []
        for request, ids in zip(requests, encoded, strict=True):
            cut = rolling_windows(
                ids,
                prefix=self._tokens.prefix,
                max_length=min(request.max_length, self._tokens.most),
                overlap=request.overlap,
            )
            windows += cut
            counts.append(len(cut))
        scored = iter(self._score(windows, greedy=False))
        return [
            TextScore(
                nats=math.fsum(next(scored)[0] for _ in range(count)),
                tokens=len(ids),
                bytes=len(text.encode()),
            )
            for text, ids, count in zip(texts, encoded, counts, strict=True)
        ]

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        """Raises SampleError for a picture, and for one that does not fit with its answer."""
        return self._chat.answers(requests)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self._tokens.whole(text)) for text in texts]

    def _window(self, request: ContinuationRequest) -> Window:
        context = request.context.rstrip()
        continuation = request.context[len(context) :] + request.continuation
        if context:
            before = self._tokens.whole(context)
            scored = self._tokens.whole(context + continuation)[len(before) :]
        else:
            (scored,) = self._tokens.encode([continuation])
            before = [self._tokens.prefix]
            if scored[:1] == before:
                scored = scored[1:]
        limit = self._tokens.most
        if not 0 < len(scored) <= limit:
            raise SampleError(
                f"sample {request.sample_id}: a continuation of {len(scored)} tokens cannot be "
                f"scored by a model of {limit:,} tokens"
            )
        return Window(
            context=(before or [self._tokens.prefix])[len(scored) - limit - 1 :], scored=scored
        )

    def _score(self, windows: Sequence[Window], *, greedy: bool) -> list[tuple[float, bool]]:
        """(−log p, whether every token was the likeliest) of each window's scored tokens; the
        latter is False where it is not asked for, since it costs a look at every logit."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for index, window in enumerate(windows):
            # Continuations of one token after one context (the letters of a question) are one row.
            rows.setdefault((*window.context, *window.scored[:-1]), []).append(index)
        results = [(0.0, False)] * len(windows)
        tokens = min(PASS_TOKENS, PASS_LOGITS // self._vocab_size)
        asked = [(ids, [windows[index] for index in rows[ids]]) for ids in rows]
        firsts = [min(of, key=lambda window: len(window.context)) for _, of in asked]
        least = SHARED_TOKENS if self._shares else math.inf
        groups, alone = sharing(firsts, least=least)
        found: dict[int, list[tuple[float, bool]]] = {}
        for group in groups:
            context = firsts[group[0]].context
            found |= self._score_behind(context, {row: asked[row] for row in group}, greedy=greedy)
        spare = SPARE["cpu" if self._model.device.type == "cpu" else "accelerator"]
        lengths = [len(asked[row][0]) for row in alone]
        for picked in passes(lengths, tokens=tokens, spare=spare):
            some = [alone[place] for place in picked]
            made = iter(self._score_pass([asked[row] for row in some], greedy=greedy))
            found |= {row: [next(made) for _ in asked[row][1]] for row in some}
        for row, indices in enumerate(rows.values()):
            for index, result in zip(indices, found[row], strict=True):
                results[index] = result
        return results

    def _score_behind(
        self,
        context: Sequence[int],
        asked: Mapping[int, tuple[Sequence[int], Sequence[Window]]],
        *,
        greedy: bool,
    ) -> dict[int, list[tuple[float, bool]]]:
        """`_score` of rows of ids that begin with one context, which is encoded once."""
        import torch

        rows = list(asked)
        device = self._model.device
        keep = {"logits_to_keep": 1} if self._keeps else {}
        tokens = min(PASS_TOKENS, PASS_LOGITS // self._vocab_size)
        found = {}
        with torch.inference_mode():
            ids_1S = torch.tensor([list(context)], device=device)
            begun = self._model(input_ids=ids_1S, use_cache=True, **keep)
            first_1V = begun.logits[0, -1:]
            for picked in passes([len(asked[row][0]) for row in rows], tokens=tokens):
                some = [rows[place] for place in picked]
                rests = [list(asked[row][0][len(context) :]) for row in some]
                longest = max(map(len, rests))
                logits_RSV = first_1V.new_zeros(len(some), 0, first_1V.shape[1])
                if longest:
                    cache = copy.deepcopy(begun.past_key_values)
                    cache.batch_repeat_interleave(len(some))
                    padded = [
                        [*rest, *[self._tokens.pad] * (longest - len(rest))] for rest in rests
                    ]
                    ids_RS = torch.tensor(padded, device=device)
                    logits_RSV = self._model(input_ids=ids_RS, past_key_values=cache).logits
                for row, logits_SV in zip(some, logits_RSV, strict=True):
                    behind_SV = torch.cat([first_1V, logits_SV])
                    made = []
                    for window in asked[row][1]:
                        at = len(window.context) - len(context)
                        logits_NV = behind_SV[at : at + len(window.scored)]
                        made.append(_likelihood(logits_NV, window.scored, greedy=greedy))
                    numbers: list[tuple[float, float]] = torch.stack(made).tolist()
                    found[row] = [(nats, bool(likeliest)) for nats, likeliest in numbers]
        return found

    def _score_pass(
        self, asked: Sequence[tuple[Sequence[int], Sequence[Window]]], *, greedy: bool
    ) -> list[tuple[float, bool]]:
        """`_score` of rows of ids that fit in memory together, with the windows that each is for.

        Rows are padded on the right, which a causal model does not see: no mask is needed, and
        attention without one is the faster.
        """
        import torch

        longest = max(len(ids) for ids, _ in asked)
        first = min(len(window.context) for _, windows in asked for window in windows) - 1
        pad = self._tokens.pad
        ids_RS = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids, _ in asked])
        keep = {"logits_to_keep": longest - first} if self._keeps else {}
        start = first if self._keeps else 0
        found = []
        with torch.inference_mode():
            output = self._model(input_ids=ids_RS.to(self._model.device), use_cache=False, **keep)
            for logits_SV, (_, windows) in zip(output.logits, asked, strict=True):
                for window in windows:
                    at = len(window.context) - 1 - start
                    logits_NV = logits_SV[at : at + len(window.scored)]
                    found.append(_likelihood(logits_NV, window.scored, greedy=greedy))
            numbers: list[tuple[float, float]] = torch.stack(found).tolist()
        return [(nats, bool(likeliest)) for nats, likeliest in numbers]


def _likelihood(logits_NV: "Tensor", scored: Sequence[int], *, greedy: bool) -> "Tensor":
    """fp64 [2]: −log p in nats, and 1 where each token was the likeliest, of tokens under their
    logits. It stays on the device, so that nothing is waited for."""
    import torch
    from torch.nn import functional

    target_N = torch.tensor(scored, device=logits_NV.device)
    part = max(1, _PART_LOGITS // logits_NV.shape[1])
    nats = likeliest = logits_NV.new_zeros(1, dtype=torch.float64)
    for logits_PV, target_P in zip(logits_NV.split(part), target_N.split(part), strict=True):
        losses_P = functional.cross_entropy(logits_PV.float(), target_P, reduction="none")
        nats = nats + losses_P.double().sum()
    if greedy:
        likeliest = (logits_NV.argmax(-1) == target_N).all().double()[None]
    return torch.cat([nats, likeliest])
