"""OCRBench: a right answer stands somewhere in what was said."""

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade


def grade_containment(answer: str, gold: Gold, corrected: bool) -> Grade:
    """In any case, line breaks as spaces; of handwritten formulas (`formula`) without any spaces
    and with capitals. Nothing of the rule is a defect, though it rewards saying much."""

    def read(text: str) -> str:
        joined = text.strip().replace("\n", " ")
        return joined.replace(" ", "") if gold.get("formula") else joined.lower()

    said = read(answer)
    correct = any(read(right) in said for right in gold["answers"])
    return Grade(value=float(correct), said=said)
