"""DPG-Bench: does the picture show everything that a long prompt says. `dpgbench` and, on the
embedded world, `dpgbench:mini`."""

from unimm_eval.tasks.dpgbench.graph import Question, counted, faults_of, released_counts
from unimm_eval.tasks.dpgbench.mini import DPGBenchMini
from unimm_eval.tasks.dpgbench.official import DPGBench

__all__ = ["DPGBench", "DPGBenchMini", "Question", "counted", "faults_of", "released_counts"]
