"""Whether a model is a finetuned child of another: both then stand in one row of a table.

The paper reports VQA of a child that was finetuned for it, and all else of its parent (appendix
E.6). Nobody can tell from two numbers that their models are related, so a child has to say so: its
fingerprint covers the fingerprints of what it was finetuned from.
"""

from unimm_eval.api import Lineage, Model, TellsLineage, UserError
from unimm_eval.engine.registry import find_adapter


def check_child(child: Lineage | None, of: Lineage | None, *, spec: str, because: str) -> None:
    """Raise UserError where `child` (given as `spec`) does not come from `of`, unless `because`
    says why it counts as its child all the same. None is a model of which nothing is told."""
    if child is not None and of is not None and child.fingerprint == of.fingerprint:
        raise UserError(f"--vqa-model {spec} is the model itself.", fix="Leave --vqa-model out.")
    if because or (child is not None and of is not None and of.fingerprint in child.parents):
        return
    if child is None or of is None:
        why = "nothing is told of what one of them was finetuned from"
    elif not child.parents:
        why = "its training.json names no parent"
    else:
        chain = " ← ".join(parent[:16] for parent in child.parents)
        why = f"it was finetuned from {chain}, and the model is {of.fingerprint[:16]}"
    raise UserError(
        f"--vqa-model {spec} is not known to be a child of --model: {why}.",
        fix="Give the child that was finetuned from the model (unimm-train finetune), or say why "
        'it counts as its child: --vqa-because "REASON", which will stand in the record.',
    )


def lineage_of(model: str | Model) -> Lineage | None:
    """What a spec's adapter, or a live model, tells of where it comes from; None where it does not.
    Loads nothing. Raises UserError."""
    if isinstance(model, str):
        adapter: object = find_adapter(model)  # a class, whose methods make it tell
        return adapter.lineage(model) if isinstance(adapter, TellsLineage) else None
    return Lineage.of_training(model.fingerprint, model.describe().get("training"))
