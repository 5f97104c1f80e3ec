"""DocVQA: average normalized Levenshtein similarity."""

from collections.abc import Sequence

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade

THRESHOLD = 0.5


def grade_anls(answer: str, gold: Gold, corrected: bool) -> Grade:
    return Grade(value=anls(answer, gold["answers"]), said=_joined(answer))


def anls(answer: str, rights: Sequence[str]) -> float:
    """Largest of 1 − edit distance / length of the longer, in any case and with single spaces; 0
    where that is below one half (Biten et al., arXiv:1905.13648, eq. 1)."""
    from Levenshtein import distance

    said = _joined(answer)
    similarities = []
    for right in map(_joined, rights):
        longer = max(len(said), len(right))
        similarities.append(1.0 - distance(said, right) / longer if longer else 1.0)
    best = max(similarities, default=0.0)
    return best if best >= THRESHOLD else 0.0


def _joined(text: str) -> str:
    return " ".join(text.lower().split())
