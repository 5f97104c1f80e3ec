"""What `--set task.key=value` changes: parsed as YAML, checked against the task's Config."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from unimm_eval.api import TaskConfig, UserError, explain
from unimm_eval.engine.registry import nearest


def parse_assignments(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`["geneval:mini.steps=10"]` → `{"geneval:mini": {"steps": "10"}}`.

    The key stands after the last dot before the first `=`; a later assignment wins. Raises
    UserError for text of another form.
    """
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        task, dot, key = target.strip().rpartition(".")
        if not (equals and dot and task and key):
            raise UserError(f"{text!r} is not a setting.", fix="Write it as --set task.key=value.")
        settings.setdefault(task, {})[key] = value
    return settings


def configure(config: type[TaskConfig], values: Mapping[str, Any], *, task: str) -> TaskConfig:
    """The task's Config with `values`.

    Text is read as a YAML scalar (`10`, `true`, `null`, `[1, 2]`); where the setting does not
    accept that, it is taken as it stands, so that a path may be called `2024`. Raises UserError
    naming every setting that is unknown, with the nearest known one, or has a value it may not.
    """
    for key in values:
        if key not in config.model_fields:
            raise UserError(
                f"Task {task} has no setting {key!r}{nearest(key, config.model_fields)}.",
                fix=f"Its settings are: {', '.join(config.model_fields)}.",
            )
    parsed = {key: _scalar(value) for key, value in values.items()}
    try:
        return config.model_validate(parsed)
    except ValidationError as error:
        refused = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
    verbatim = {key: values[key] if key in refused else parsed[key] for key in values}
    try:
        return config.model_validate(verbatim)
    except ValidationError as error:
        raise UserError(f"Settings of task {task}: {explain(error)}.") from error


def check_tasks(settings: Mapping[str, Any], tasks: Iterable[str]) -> None:
    """Raise UserError when settings are given for a task that was not chosen."""
    known = list(tasks)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UserError(
            "\n".join(
                f"There are settings for {name!r}, which is not among the tasks of this run"
                f"{nearest(name, known)}."
                for name in unknown
            ),
            fix=f"The tasks are: {', '.join(known)}.",
        )


def _scalar(value: Any) -> Any:
    import yaml

    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # ValueError: 2024-99-99 looks like a date
        return value
