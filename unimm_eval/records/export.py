"""`export`: a record in the forms of others."""

from pathlib import Path
from typing import Literal, get_args

from unimm_eval.api import UserError
from unimm_eval.records import every_eval_ever, hugging_face, lm_eval

Format = Literal["every-eval-ever", "hf", "lm-eval"]
FORMATS: tuple[Format, ...] = get_args(Format)


def export(
    run: str | Path, output: str | Path, *, format: str, organization: str = "unknown"
) -> list[Path]:
    """Write the record at `run` (a run's folder, or a record with its files) below `output`.

    `organization` is who did the evaluation, which Every Eval Ever asks for. Returns the files.
    Raises UserError for another format, or a record that cannot be read.
    """
    run, output = Path(run), Path(output)
    if format == "every-eval-ever":
        return every_eval_ever.write(run, output, organization=organization)
    if format == "hf":
        return hugging_face.write(run, output)
    if format == "lm-eval":
        return lm_eval.write(run, output)
    raise UserError(f"There is no format {format!r}.", fix=f"Choose one of {', '.join(FORMATS)}.")
