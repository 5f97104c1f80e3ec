"""WISE: pictures that take knowledge to draw. `wise`, `wise-verified` and, on the world,
`wise:mini`."""

from unimm_eval.tasks.wise.mini import WiseMini
from unimm_eval.tasks.wise.official import Wise, WiseVerified

__all__ = ["Wise", "WiseMini", "WiseVerified"]
