"""Files of benchmarks and of the user: where they are, whether they are whole, how they come."""

from unimm_eval.data.fetch import Fetching, fetch
from unimm_eval.data.files import (
    ENVIRONMENT,
    DataFile,
    State,
    data_dir,
    files_of,
    read_text,
    sha256_file,
    state_of,
    verify,
)

__all__ = [
    "ENVIRONMENT",
    "DataFile",
    "Fetching",
    "State",
    "data_dir",
    "fetch",
    "files_of",
    "read_text",
    "sha256_file",
    "state_of",
    "verify",
]
