"""Scaling laws from runs at fixed compute (paper §7): `unimm-eval scaling FILE`.

points.py    runs from a CSV file or from records: compute, size, tokens, loss
isoflop.py   a parabola a budget, the best size and tokens of each, power laws through them
frontier.py  the best loss as A·C^−α + E
noise.py     what errors of the losses do to all of that
study.py     every modality and architecture of a file, and vision beside language
plots.py     the figure
"""

from unimm_eval.scaling.points import Points, read_points
from unimm_eval.scaling.study import Study, study

__all__ = ["Points", "Study", "read_points", "study"]
