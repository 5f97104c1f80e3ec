"""`experts`: what the experts of a mixture specialise in; of text alone, and on the world."""

from unimm_eval.tasks.experts.mini import ExpertsMini
from unimm_eval.tasks.experts.official import Experts, ExpertsText

__all__ = ["Experts", "ExpertsMini", "ExpertsText"]
