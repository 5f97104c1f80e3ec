"""`--set task.key=value`."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from unimm_eval.api import TaskConfig, UserError
from unimm_eval.engine.settings import check_tasks, configure, parse_assignments


class Config(TaskConfig):
    steps: int = Field(50, ge=1)
    scale: float = 3.0
    path: Path | None = None
    prompt: str = ""
    exact: bool = False
    sizes: tuple[int, ...] = ()


def configured(text: str) -> Config:
    (values,) = parse_assignments([f"task.{text}"]).values()
    found = configure(Config, values, task="task")
    assert isinstance(found, Config)
    return found


def test_the_key_stands_after_the_last_dot():
    found = parse_assignments(["geneval:mini.steps=10", "lm:mmlu.v2.limit=a.b=c"])
    assert found == {"geneval:mini": {"steps": "10"}, "lm:mmlu.v2": {"limit": "a.b=c"}}


def test_a_later_assignment_wins():
    assert parse_assignments(["a.b=1", "a.b=2"]) == {"a": {"b": "2"}}


@pytest.mark.parametrize("text", ["", "a", "a.b", "a=1", ".b=1", "a.=1", "=1"])
def test_other_text_is_refused(text):
    with pytest.raises(UserError, match="not a setting"):
        parse_assignments([text])


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("steps=10", "steps", 10),
        ("scale=1e-3", "scale", 1e-3),
        ("exact=true", "exact", True),
        ("exact=no", "exact", False),
        ("limit=null", "limit", None),
        ("limit=3", "limit", 3),
        ("path=~/data", "path", Path("~/data")),
        ("path=2024", "path", Path("2024")),
        ("path=2024-01-31", "path", Path("2024-01-31")),
        ("prompt=yes", "prompt", "yes"),
        ("prompt=a: b", "prompt", "a: b"),
        ("prompt=[open", "prompt", "[open"),
        ("prompt=2024-99-99", "prompt", "2024-99-99"),
        ("prompt=", "prompt", ""),
        ("sizes=[1, 2]", "sizes", (1, 2)),
    ],
)
def test_values_are_yaml_where_the_setting_takes_it(text, key, value):
    assert getattr(configured(text), key) == value


@given(st.text(), st.text(alphabet="ab:._-", min_size=1).filter(lambda name: "." in name[1:]))
def test_any_text_is_parsed_or_refused(value, target):
    try:
        found = parse_assignments([f"{target}={value}"])
    except UserError:
        assert target.endswith(".")
        return
    assert found == {target.rpartition(".")[0]: {target.rpartition(".")[2]: value}}


@given(st.text())
def test_text_settings_accept_any_text_that_is_not_yaml_for_something_else(value):
    assert isinstance(configure(Config, {"prompt": value}, task="task"), Config)


@given(st.integers(min_value=1), st.floats(allow_nan=False), st.booleans())
def test_numbers_arrive_exactly(steps, scale, exact):
    found = configure(
        Config,
        {"steps": str(steps), "scale": repr(scale), "exact": str(exact).lower()},
        task="task",
    )
    assert (found.steps, found.scale, found.exact) == (steps, scale, exact)  # type: ignore[attr-defined]


def test_values_of_another_type_are_taken_as_they_are():
    assert configure(Config, {"steps": 7, "sizes": (1,)}, task="t") == Config(steps=7, sizes=(1,))


def test_unknown_key_names_the_nearest():
    with pytest.raises(UserError, match=r"no setting 'step' \(did you mean steps\?\)"):
        configure(Config, {"step": "1"}, task="task")


@pytest.mark.parametrize("values", [{"steps": "0"}, {"steps": "many"}, {"limit": "0"}])
def test_wrong_value_names_the_setting(values):
    with pytest.raises(UserError, match=f"task: {next(iter(values))}: "):
        configure(Config, values, task="task")


def test_settings_for_a_task_that_is_not_run():
    check_tasks({"geneval": {}}, ["geneval", "wise"])
    with pytest.raises(UserError, match=r"'genval'.*\(did you mean geneval\?\)"):
        check_tasks({"genval": {}}, ["geneval", "wise"])
