"""`server`, with the index of lm-eval's own fourteen thousand tasks: it takes seconds to make, so
the server of child processes makes it once."""

from lm_eval.tasks import TaskManager

from unimm_eval.tasks.lm import server

NAME = server.NAME
_INDEX = TaskManager().task_index


class Session(server.Session):
    index = _INDEX
