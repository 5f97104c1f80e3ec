"""Dies while it saves: `python kill_program.py FOLDER`, when the shards of step 6 are written."""

import os
import signal
import sys
from pathlib import Path

from small_recipe import small_recipe

from unimm_eval.train import state
from unimm_eval.train.pretrain import Pretraining


def killed(path):
    if "state-0000006" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return sha256(path)


sha256 = state.file_sha256
state.file_sha256 = killed
Pretraining(small_recipe(), Path(sys.argv[1]), workers=0).run()
