"""What a judge is asked about an answer that is a sentence: which option or value it states.

The judge extracts, it does not grade: what it finds goes through the same rule as a plain answer.
It does not see what is right.
"""

from collections.abc import Mapping
from typing import Any

from unimm_eval.judges import without_thoughts

_LONGEST = 8_000
"""Characters of an answer that are shown; the conclusion stands at its end."""
NOTHING = "none"


def extraction(inputs: Mapping[str, Any], answer: str) -> str:
    """The question to the judge."""
    wanted = (
        "the letter of the option that the response chooses"
        if "letter" in inputs["gold"]
        else "the final answer that the response gives, as a bare number or a few words"
    )
    return (
        "Below are a question about a picture and somebody's response to it. Reply with "
        f"{wanted}, and with nothing else. Do not answer the question yourself. If the response "
        f"states no answer, reply {NOTHING}.\n\n"
        f"Question:\n{inputs['question']}\n\nResponse:\n{answer[-_LONGEST:]}"
    )


def read_extracted(text: str) -> str:
    """One short line. Raises ValueError saying what it is instead, or that there is no answer."""
    line = without_thoughts(text)
    if not line or "\n" in line or len(line) > 100:
        raise ValueError(f"is no single short line: {line[:80]!r}")
    if line.lower().rstrip(".") == NOTHING:
        raise ValueError("says that the response states none")
    return line
