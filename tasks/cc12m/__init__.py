"""`cc12m`: flow loss of captioned pictures: of CC12M, of the user's, or of the embedded world."""

from unimm_eval.tasks.cc12m.mini import Cc12mMini
from unimm_eval.tasks.cc12m.official import Cc12m

__all__ = ["Cc12m", "Cc12mMini"]
