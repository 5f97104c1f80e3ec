"""Frames, what was done, and the frames that it led to, as documents (paper §2.3, "I + T → I").

Frames that are given are shown as pictures that a caption follows (`context_noise`); those that are
to be predicted are each noised at a time of its own. Now and then what is given is left out, frames
and action alike: that is what guidance steers away from.
"""

from unimm_eval.model.sequence import Document, frames_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.show import Shown

SPECIAL = 1  # <bos>; a frame has two of its own


def transition_document(
    tokenizer: Tokenizer, shown: Shown, *, context: int, results: int, action: str
) -> Document:
    """The first `context` pictures, the action, and the `results` pictures behind it."""
    left_out = shown.left_out()
    given = [] if left_out else [shown.context(number) for number in range(context)]
    predicted = [shown.noised(context + number) for number in range(results)]
    actions = ["" if left_out else action] + [""] * (results - 1)
    return frames_document(tokenizer, given, list(zip(actions, predicted, strict=True)))
