"""The other way round: any model of ours inside lm-eval.

    from unimm_eval.tasks.lm.model import HarnessLM

    lm_eval.simple_evaluate(model=HarnessLM(model), tasks=["hellaswag"])

Importing this module imports lm-eval, which no other module of ours does in this process.
"""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import LM

from unimm_eval.api import item_seed
from unimm_eval.tasks.lm.requests import Asked, answer


class HarnessLM(LM):
    """A model that implements ScoresText, GeneratesText or both, as lm-eval wants one.

    Documents are asked about in the batches in which a run of ours asks, so that the numbers of
    both are the same to the last digit.
    """

    def __init__(self, model: Any, *, batch_size: int = 16, seed: int = 0) -> None:
        """`batch_size` documents at once; `seed` is what sampled answers are drawn from."""
        super().__init__()
        self.model = model
        self.batch_size = batch_size
        self.seed = seed

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        return [tuple(response) for response in self._answers(requests)]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[Any]:
        return self._answers(requests)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        return self._answers(requests)

    def _answers(self, requests: Sequence[Any]) -> list[Any]:
        documents: dict[tuple[int, str, int], list[int]] = {}
        tasks: dict[str, int] = {}
        seen: dict[int, int] = {}
        for position, request in enumerate(requests):
            repeat = seen.get(id(request), 0)  # lm-eval repeats the request itself
            seen[id(request)] = repeat + 1
            tasks.setdefault(request.task_name, len(tasks))
            key = request.doc_id, request.task_name, repeat
            documents.setdefault(key, []).append(position)
        order = sorted(documents, key=lambda key: (key[0], tasks[key[1]], key[2]))
        found: dict[int, Any] = {}
        for start in range(0, len(order), self.batch_size):
            some = order[start : start + self.batch_size]
            asked = [self._asked(key, [requests[at] for at in documents[key]]) for key in some]
            for key, answered in zip(some, answer(self.model, asked), strict=True):
                found |= zip(documents[key], answered.responses, strict=True)
        return [found[position] for position in range(len(requests))]

    def _asked(self, key: tuple[int, str, int], requests: Sequence[Any]) -> Asked:
        number, task, repeat = key
        sample_id = f"{task}/{number}"
        texts: dict[str, int] = {}
        return Asked(
            sample_id=sample_id,
            repeat=repeat,
            seed=item_seed(self.seed, sample_id, repeat),
            requests=[
                [one.request_type, texts.setdefault(one.args[0], len(texts)), *one.args[1:]]
                for one in requests
            ],
            texts=list(texts),
        )
