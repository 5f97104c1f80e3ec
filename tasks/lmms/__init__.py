"""`lmms:TASK` and the sixteen as `gqa:lmms` …: lmms-eval's own prompts, graders and aggregators."""

from unimm_eval.tasks.lmms.task import LmmsTask

__all__ = ["LmmsTask"]
