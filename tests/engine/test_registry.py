"""Tasks and models are found by entry points, without importing them."""

import sys

import pytest

from unimm_eval.api import UserError
from unimm_eval.engine import registry
from unimm_eval.engine.registry import (
    find_adapter,
    find_tasks,
    model_adapters,
    nearest,
    task_entries,
)

CARD = """
name: {name}
task_class: {task_class}
title: a plug-in's task
protocol: p
version: 1
mini: {mini}
requires: []
data: {data}
metrics: {{accuracy: {{direction: higher}}}}
"""
ADAPTER = """
class Adapter:
    summary = "a plug-in's model"
    examples = ("plugged:NAME",)

    @classmethod
    def matches(cls, spec):
        return spec.startswith("plugged:")

    @classmethod
    def capabilities_for(cls, spec):
        return frozenset({"GeneratesText"})

    @classmethod
    def load(cls, spec, *, device, dtype):
        raise AssertionError("must not be loaded")
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A distribution, alone in the world, with two tasks and a model."""
    package = tmp_path / "plugged_tasks" / "zebra"
    package.mkdir(parents=True)
    (tmp_path / "plugged_tasks" / "__init__.py").write_text("raise AssertionError('imported')")
    cards = {"card": ("zebra", "false", "{sha256: abc}"), "mini": ("zebra:mini", "true", "{}")}
    for file, (name, mini, data) in cards.items():
        card = CARD.format(name=name, task_class="Zebra", mini=mini, data=data)
        (package / f"{file}.yaml").write_text(card)
    (tmp_path / "plugged_model.py").write_text(ADAPTER)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[unimm_eval.tasks]\nzebra = plugged_tasks.zebra\n"
        "[unimm_eval.models]\nplugged = plugged_model:Adapter\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "checkout_project", lambda: None)
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [e for e in _installed(group) if e.dist and e.dist.name == "plugged"],
    )
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plugged")]:
        del sys.modules[name]


def _installed(group):
    from importlib.metadata import entry_points

    return entry_points(group=group)


def test_plugged_tasks_are_listed_without_import(plugin):
    entries = task_entries()
    assert list(entries) == ["zebra", "zebra:mini"]
    assert entries["zebra"].package == "plugged_tasks.zebra"
    assert entries["zebra"].folder == plugin / "plugged_tasks" / "zebra"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["zebra"], ["zebra"]),
        (["zebra:mini, zebra"], ["zebra:mini", "zebra"]),
        (["mini"], ["zebra:mini"]),
        (["paper"], ["zebra"]),
        (["z*"], ["zebra", "zebra:mini"]),
        (["*:mini", "mini", "zebra:mini"], ["zebra:mini"]),
    ],
)
def test_names_globs_and_groups(plugin, names, found):
    assert [entry.card.name for entry in find_tasks(names, task_entries())] == found


def test_a_family_makes_tasks_of_names_and_is_in_no_glob(plugin):
    card = CARD.format(name="'wild:*'", task_class="Zebra", mini="false", data="{}")
    (plugin / "plugged_tasks" / "zebra" / "wild.yaml").write_text(card)
    entries = task_entries()
    names = [entry.card.name for entry in find_tasks(["wild:ass,*,wild:horse-1.5"], entries)]
    assert names == ["wild:ass", "zebra", "zebra:mini", "wild:horse-1.5"]
    assert find_tasks(["wild:ass"], entries)[0].folder == entries["zebra"].folder
    for pattern in ("wild:*", "wild:a*", "wild:?ss"):
        with pytest.raises(UserError, match="is a pattern"):
            find_tasks([pattern], entries)
    with pytest.raises(UserError, match="no task 'wild:'"):
        find_tasks(["wild:"], entries)


def test_unknown_tasks_are_named_together_with_the_nearest(plugin):
    with pytest.raises(UserError, match=r"'zebro' \(did you mean zebra") as caught:
        find_tasks(["zebro,zebra", "nothing*"], task_entries())
    assert "'nothing*'." in str(caught.value)


def test_models_are_found_by_spec(plugin):
    assert list(model_adapters()) == ["plugged"]
    assert find_adapter("plugged:x").capabilities_for("plugged:x") == {"GeneratesText"}


def test_unknown_model_names_the_nearest(plugin):
    with pytest.raises(UserError, match=r"no model 'pluged:NAME' \(did you mean plugged:NAME"):
        find_adapter("pluged:NAME")


def test_a_card_that_is_none_is_named(plugin):
    path = plugin / "plugged_tasks" / "zebra" / "card.yaml"
    path.write_text("name: zebra\ncolour: striped\n")
    with pytest.raises(UserError, match=r"card\.yaml is not a card: .*colour"):
        task_entries()


def test_two_tasks_of_one_name_are_refused(plugin):
    path = plugin / "plugged_tasks" / "zebra"
    (path / "other.yaml").write_text((path / "card.yaml").read_text())
    with pytest.raises(UserError, match="Two packages have a task zebra"):
        task_entries()


def test_a_plugin_whose_files_are_gone_is_named(plugin):
    (plugin / "plugged-1.0.dist-info" / "entry_points.txt").write_text(
        "[unimm_eval.tasks]\nlost = plugged_tasks.lost\n[unimm_eval.models]\nlost = lost_model:X\n"
    )
    with pytest.raises(UserError, match=r"plugged_tasks\.lost are announced"):
        task_entries()
    with pytest.raises(UserError, match="lost_model:X is announced but cannot be imported"):
        find_adapter("anything")


def test_a_checkout_is_its_own_plugin():
    assert "text" in task_entries()


def test_a_near_name_is_suggested_once():
    assert nearest("dem", ["demo", "other", "demo"]) == " (did you mean demo?)"
