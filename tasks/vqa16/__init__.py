"""Sixteen VQA benchmarks: by Cambrian's evaluation, each by name and together `vqa16`; and
`vqa16:mini`, sixteen families of questions about the embedded world."""

from unimm_eval.tasks.vqa16.mini import Vqa16Mini
from unimm_eval.tasks.vqa16.official import Cambrian, JudgedCambrian

__all__ = ["Cambrian", "JudgedCambrian", "Vqa16Mini"]
