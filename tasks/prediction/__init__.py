"""`prediction`: frames seconds ahead against the true ones; `prediction:mini` in the world."""

from unimm_eval.tasks.prediction.mini import PredictionMini
from unimm_eval.tasks.prediction.official import Prediction

__all__ = ["Prediction", "PredictionMini"]
