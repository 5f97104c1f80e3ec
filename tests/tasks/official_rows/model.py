"""The model without weights as a model under evaluation, and the runs that tests make of it."""

from official_rows.answers import answer_of
from official_rows.benchmarks import DATASETS

from unimm_eval.api import Picture


class Answers:
    """Says what `answer_of` says. With `log`, a file gets a line for every sample it is asked."""

    name = "answers"
    fingerprint = "answers-1"

    def __init__(self, log=None, answer=answer_of):
        self.log = log
        self.answer = answer
        self.seen = []

    def describe(self):
        return {}

    def generate_text(self, requests):
        self.seen += requests
        if self.log is not None:
            with open(self.log, "a", encoding="ascii") as file:
                file.writelines(f"{request.sample_id}\n" for request in requests)
        return [self._say(request.parts) for request in requests]

    def _say(self, parts):
        texts = [part for part in parts if isinstance(part, str)]
        arrays = [part.load() for part in parts if isinstance(part, Picture)]
        return self.answer("\n".join(texts), arrays)


def settings_for(rows):
    """Where the data of each of the sixteen lies."""
    return {f"{name}:lmms": {"path": str(rows / name)} for name in DATASETS}
