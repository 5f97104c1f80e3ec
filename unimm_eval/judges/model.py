"""A model of this harness as judge: one of our checkpoints, or whatever else writes text."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from unimm_eval.api import ChatRequest, GeneratesText, Picture, SampleError
from unimm_eval.api import Model as Described
from unimm_eval.judges.contract import Answer, Question


class _Writer(Described, GeneratesText, Protocol):
    """A model that writes text."""


class ModelJudge:
    """Answers with a model that was loaded elsewhere, greedily, in batches."""

    varies = False

    def __init__(self, model: _Writer, *, batch_size: int = 8) -> None:
        self._model = model
        self._batch_size = batch_size

    @property
    def identity(self) -> str:
        return f"{self._model.name}@{self._model.fingerprint[:16]}"

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        source = iter(questions)
        while batch := list(islice(source, self._batch_size)):
            yield from self._batch(batch)

    def _batch(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers in order. A picture that does not decode, or too long a question, costs its own
        question alone."""
        requests = [_request(question) for question in questions]
        try:
            texts = self._model.generate_text(requests)
        except SampleError as error:
            if len(questions) > 1:
                return [answer for question in questions for answer in self._batch([question])]
            return [Answer(key=questions[0].key, error=error.what)]
        return [
            Answer(key=question.key, text=text, log={"response": text})
            for question, text in zip(questions, texts, strict=True)
        ]


def _request(question: Question) -> ChatRequest:
    """The system's instruction comes first: a chat request knows no roles."""
    system = (f"{question.system}\n\n",) if question.system else ()
    parts: tuple[str | Picture, ...] = (*system, *question.parts)
    return ChatRequest(
        sample_id=str(question.key), parts=parts, max_new_tokens=question.max_new_tokens
    )
