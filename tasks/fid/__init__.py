"""`fid`: how far pictures are from true ones, all together; `fid:mini` on the embedded world."""

from unimm_eval.tasks.fid.mini import FidMini
from unimm_eval.tasks.fid.official import Fid

__all__ = ["Fid", "FidMini"]
