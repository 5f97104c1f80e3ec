"""How time grows with work: the exponent of a power law through a few sizes."""

from collections.abc import Mapping

import numpy as np

TIMES = (1, 4, 16)
"""How many times the work is done that a measurement begins with."""


def exponent(seconds: Mapping[int, float]) -> float:
    """Slope of log seconds over log size: 1 is linear, 2 quadratic."""
    sizes, values = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(sizes, values, 1)[0])
