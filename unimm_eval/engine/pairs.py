"""Two runs of a task, output by output: the same sample and repeat in both."""

from dataclasses import dataclass
from functools import cached_property

from unimm_eval.api import Output, Sample, Score, Task
from unimm_eval.engine.load import LoadedTask


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run's part of a pair."""

    task: Task
    sample: Sample
    output: Output
    score: Score


Pair = tuple[Side, Side]


@dataclass(frozen=True)
class PairedTask:
    """What stands in both runs, in the order of A, and how many outputs stand in one only."""

    pairs: tuple[Pair, ...]
    only_in_a: int
    only_in_b: int

    @cached_property
    def scored(self) -> tuple[Pair, ...]:
        """Pairs that have a score in both runs."""
        return tuple(
            (a, b) for a, b in self.pairs if a.score.unscored is None and b.score.unscored is None
        )

    @property
    def unscored(self) -> int:
        return len(self.pairs) - len(self.scored)


def pair(a: LoadedTask, b: LoadedTask) -> PairedTask:
    """Pair the outputs of two runs by sample id and repeat."""
    first, second = _sides(a), _sides(b)
    pairs = tuple((side, second[key]) for key, side in first.items() if key in second)
    return PairedTask(
        pairs=pairs, only_in_a=len(first) - len(pairs), only_in_b=len(second) - len(pairs)
    )


def _sides(loaded: LoadedTask) -> dict[tuple[str, int], Side]:
    rows = zip(loaded.samples, loaded.outputs, loaded.scores, strict=True)
    return {
        (output.sample_id, output.repeat): Side(
            task=loaded.task, sample=sample, output=output, score=score
        )
        for sample, output, score in rows
    }
