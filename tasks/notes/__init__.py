"""`notes`: perplexity of text unlike the web, of which the user has a corpus."""

from typing import ClassVar

from unimm_eval.tasks.text import Text


class Notes(Text):
    """`text` with the paper's headline, on a corpus in the place of its private one."""

    wanted: ClassVar[str] = (
        "the task `notes` needs a corpus of yours: the paper measures its own Notes, which are "
        "private, so that there is nothing to fetch and its numbers compare with none of yours"
    )
