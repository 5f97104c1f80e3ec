"""Builds tasks the way the engine does: from the card beside their package, with settings."""

from pathlib import Path

import pytest
import yaml

import unimm_eval.tasks
from unimm_eval.api import Card, Context

TASKS = Path(unimm_eval.tasks.__file__).parent


@pytest.fixture
def make_task(tmp_path):
    """`make_task("geneval:mini", steps=3)`."""
    import importlib

    def make(name, **settings):
        folder, _, variant = name.partition(":")
        path = TASKS / folder / (f"{variant}.yaml" if variant else "card.yaml")
        card = Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert card.name == name
        task_class = getattr(importlib.import_module(f"unimm_eval.tasks.{folder}"), card.task_class)
        return task_class(card, task_class.Config(**settings), data_dir=tmp_path)

    return make


@pytest.fixture
def context(tmp_path):
    return Context(device="cpu", data_dir=tmp_path)
