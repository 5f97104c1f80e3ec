"""`nwm`: planning with predicted frames on robot recordings; `nwm:mini` in the world's rooms."""

from unimm_eval.tasks.nwm.mini import NwmMini
from unimm_eval.tasks.nwm.official import Nwm

__all__ = ["Nwm", "NwmMini"]
