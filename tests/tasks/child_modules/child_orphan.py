"""`child_orphan.py MODULE`: open a session, tell the processes, and wait to be killed."""

import sys
import time

from unimm_eval.tasks.child import Library

server = Library(sys.argv[1])
with server.session() as child:
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    child.call("hang")
time.sleep(1000)
