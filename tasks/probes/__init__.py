"""`probes`: what linear probes read off the layers of encoder and backbone, and on the world."""

from unimm_eval.tasks.probes.mini import ProbesMini
from unimm_eval.tasks.probes.official import Probes

__all__ = ["Probes", "ProbesMini"]
