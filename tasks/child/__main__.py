"""`python -m unimm_eval.tasks.child MODULE DESCRIPTOR`: the server of one library."""

import socket
import sys

from unimm_eval.tasks.child.server import serve

serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
