"""Who judges: judges of their own kind, by entry points, or any model that writes text."""

from collections.abc import Callable

from unimm_eval.api import GeneratesText, Model, UserError
from unimm_eval.engine.registry import find_adapter, judge_kinds
from unimm_eval.judges import Judge, JudgedTask, ModelJudge

LoadModel = Callable[[str], Model]
"""The model of a spec."""
MakeJudge = Callable[[LoadModel], Judge]


def find_judge(task: JudgedTask) -> MakeJudge:
    """How the judge of a task is had. A server is asked whether it answers; no model is loaded.

    Raises UserError when the task names none, or one that writes no text; IncompleteError when its
    server does not answer.
    """
    spec = task.config.judge
    if (live := task.judged_by) is not None:
        return lambda load: live
    if spec is None:
        raise UserError(
            f"Task {task.card.name} needs a judge, and none is named.",
            fix=f"Name one: {task.judge_hint()}",
        )
    for kind in judge_kinds().values():
        if kind.matches(spec):
            judge = kind.open(spec, task.judge_settings())
            return lambda load: judge
    if "GeneratesText" not in find_adapter(spec).capabilities_for(spec):
        raise _writes_no_text(spec, task)

    def make(load: LoadModel) -> Judge:
        model = load(spec)
        if not isinstance(model, GeneratesText):
            raise _writes_no_text(spec, task)
        return ModelJudge(model)

    return make


def _writes_no_text(spec: str, task: JudgedTask) -> UserError:
    return UserError(
        f"Model {spec} cannot judge {task.card.name}: it writes no text.",
        fix=f"Name another judge: {task.judge_hint()}",
    )
