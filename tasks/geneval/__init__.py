"""`geneval`: does the picture show what the prompt says; `geneval:mini` on the embedded world."""

from unimm_eval.tasks.geneval.mini import HELD_OUT_TAGS, GenEvalMini, verdict
from unimm_eval.tasks.geneval.official import GenEval
from unimm_eval.tasks.geneval.prompts import TAGS
from unimm_eval.tasks.geneval.rules import score_image

__all__ = ["HELD_OUT_TAGS", "TAGS", "GenEval", "GenEvalMini", "score_image", "verdict"]
