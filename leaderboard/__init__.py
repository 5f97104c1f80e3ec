"""Many runs as a site and as tables.

`build_site` reads published records and reported numbers and writes a folder of static pages that
work from a file, without a network; `serve` shows it on this machine.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unimm_eval.leaderboard.site import Built

RESULTS = Path("results")
SITE = Path("site")


def build_site(results: str | Path = RESULTS, output: str | Path = SITE) -> "Built":
    """Build the site of the records in `results` into the folder `output`.

    Records that cannot be shown are left out, and the site says which and why. Raises UserError
    when `results` is no folder, or `output` is a folder of something else or cannot be written.
    """
    from unimm_eval.leaderboard.site import write_site

    return write_site(Path(results), Path(output))
