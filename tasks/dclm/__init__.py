"""`dclm`: perplexity of held-out web text, or of the embedded world's language."""

from unimm_eval.tasks.dclm.mini import DclmMini
from unimm_eval.tasks.dclm.official import Dclm

__all__ = ["Dclm", "DclmMini"]
