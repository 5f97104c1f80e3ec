"""Libraries that never run in our process: one preloaded server a library, a fresh child a session.

with library("unimm_eval.tasks.lm.server").session() as child:
    facts = child.call("open", task="hellaswag")
    for row in child.stream("documents"):
        ...
"""

from unimm_eval.tasks.child.parent import Library, LibraryError, Session, library

__all__ = ["Library", "LibraryError", "Session", "library"]
