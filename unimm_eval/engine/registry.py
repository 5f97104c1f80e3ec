"""Which tasks, models and judges there are: ours and those of plug-ins, found by entry points.

An entry of the group `unimm_eval.tasks` names a package whose `*.yaml` files are cards of tasks and
whose `*.group.yaml` files are cards of groups; one of `unimm_eval.models` names an `Adapter` class,
one of `unimm_eval.judges` a `JudgeKind`. Cards are read without importing the package, so that the
list of tasks is instant. A checkout that was never installed is its own plug-in: the same tables
are read from its pyproject.toml.
"""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from unimm_eval import checkout_project
from unimm_eval.api import Adapter, Card, Group, Task, UserError, explain
from unimm_eval.judges import JudgeKind

TASKS = "unimm_eval.tasks"
MODELS = "unimm_eval.models"
JUDGES = "unimm_eval.judges"
GROUPS = {
    "mini": "every task on the embedded world",
    "paper": "every official benchmark, by the paper's protocol",
}
_GROUP_CARD = ".group.yaml"

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """A task that can be chosen: its card, and the package that holds both."""

    card: Card
    package: str
    folder: Path

    @property
    def is_family(self) -> bool:
        """Whether its card is a pattern (`lm:*`), from which tasks are made by name."""
        return "*" in self.card.name

    def named(self, name: str) -> "TaskEntry":
        """The task `name` of the family."""
        return replace(self, card=self.card.model_copy(update={"name": name}))

    def load(self) -> type[Task]:
        """Import the task's class."""
        found = _import(f"{self.package}:{self.card.task_class}")
        if not (isinstance(found, type) and issubclass(found, Task)):
            raise UserError(f"{self.package}:{self.card.task_class} is not a Task.")
        return found


def task_entries() -> dict[str, TaskEntry]:
    """All tasks by name, sorted. Raises UserError for a card that cannot be read."""
    found: dict[str, TaskEntry] = {}
    for package in _entries(TASKS).values():
        folder = _package_folder(package)
        for path in sorted(folder.glob("*.yaml")):
            if path.name.endswith(_GROUP_CARD):
                continue
            entry = TaskEntry(card=read_card(path), package=package, folder=folder)
            other = found.setdefault(entry.card.name, entry)
            if other is not entry:
                raise UserError(
                    f"Two packages have a task {entry.card.name}: {other.package} and {package}.",
                    fix="Uninstall one of them.",
                )
    return dict(sorted(found.items()))


def read_card(path: Path) -> Card:
    """A task's card. Raises UserError naming the file and the field."""
    return _read(path, Card)


def _read(path: Path, kind: type[T]) -> T:
    import yaml

    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as a card: {error}") from error
    except ValidationError as error:
        raise UserError(f"{path} is not a card: {explain(error)}") from error


def group_entries() -> dict[str, Group]:
    """All groups by name, sorted. Raises UserError for a card that cannot be read."""
    found: dict[str, Group] = {}
    for package in _entries(TASKS).values():
        for path in sorted(_package_folder(package).glob(f"*{_GROUP_CARD}")):
            group = _read(path, Group)
            if found.setdefault(group.name, group) is not group:
                raise UserError(f"Two packages have a group {group.name}; {package} is one.")
    return dict(sorted(found.items()))


def find_tasks(names: Sequence[str], entries: Mapping[str, TaskEntry]) -> list[TaskEntry]:
    """Tasks by names, comma lists, globs and groups, each once, in the order they were named.

    Raises UserError listing every name that is unknown, with the nearest known ones.
    """
    chosen: dict[str, TaskEntry] = {}
    unknown: list[str] = []
    groups = group_entries()
    for name in (part.strip() for text in names for part in text.split(",")):
        matches = _matching(name, entries, groups)
        if name and not matches:
            unknown.append(name)
        chosen |= {match: find_task(match, entries) for match in matches}
    if unknown:
        known = [*entries, *groups, *GROUPS]
        raise UserError(
            "\n".join(f"There is no task {name!r}{nearest(name, known)}." for name in unknown),
            fix="unimm-eval tasks lists all of them.",
        )
    return list(chosen.values())


def named_tasks(names: Sequence[str], entries: Mapping[str, TaskEntry]) -> frozenset[str]:
    """Those of `find_tasks` that were asked for by their own name or their group's, not by `mini`,
    `paper` or a glob."""
    groups = group_entries()
    parts = (part.strip() for text in names for part in text.split(","))
    own = [part for part in parts if part not in GROUPS and not any(sign in part for sign in "*?[")]
    return frozenset(match for part in own for match in _matching(part, entries, groups))


def find_task(name: str, entries: Mapping[str, TaskEntry]) -> TaskEntry:
    """The task of exactly this name, or of the family that it belongs to. Raises KeyError."""
    if name in entries:
        return entries[name]
    for entry in entries.values():
        if entry.is_family and _belongs(name, entry):
            return entry.named(name)
    raise KeyError(name)


def _belongs(name: str, family: TaskEntry) -> bool:
    pattern = family.card.name
    return len(name) >= len(pattern) and fnmatchcase(name, pattern)


def _matching(
    name: str, entries: Mapping[str, TaskEntry], groups: Mapping[str, Group]
) -> list[str]:
    if name in entries and not entries[name].is_family:
        return [name]
    if name == "mini":
        return [key for key, entry in entries.items() if entry.card.mini]
    if name == "paper":
        return [key for key, entry in entries.items() if _official(entry.card)]
    if name in groups:
        if missing := [member for member in groups[name].members if member not in entries]:
            raise UserError(f"The group {name} has members that are no tasks: {missing}.")
        return list(groups[name].members)
    families = [entry for entry in entries.values() if entry.is_family]
    if any(_belongs(name, family) for family in families):
        if any(sign in name for sign in "*?["):
            raise UserError(
                f"{name!r} is a pattern, but tasks of that kind are made from their names.",
                fix=f"Name them one by one, e.g. {name.partition(':')[0]}:NAME.",
            )
        return [name]
    return [key for key in entries if fnmatchcase(key, name) and not entries[key].is_family]


def _official(card: Card) -> bool:
    """A variant (`gqa:lmms`) follows another protocol than the paper's."""
    return not card.mini and bool(card.data) and ":" not in card.name


def model_adapters() -> dict[str, type[Adapter]]:
    """All kinds of models by name."""
    return {kind: _import(target) for kind, target in _entries(MODELS).items()}


def judge_kinds() -> dict[str, type[JudgeKind]]:
    """All kinds of judges by name. Models that write text can judge, too, and are not here."""
    return {kind: _import(target) for kind, target in _entries(JUDGES).items()}


def find_adapter(spec: str) -> type[Adapter]:
    """Who loads a model spec. Raises UserError with the nearest known spec."""
    adapters = model_adapters()
    for adapter in adapters.values():
        if adapter.matches(spec):
            return adapter
    known = [*adapters, *(example for adapter in adapters.values() for example in adapter.examples)]
    raise UserError(
        f"There is no model {spec!r}{nearest(spec, known)}.",
        fix="unimm-eval models lists what can be given; a checkpoint is given as its folder.",
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean geneval?)`, or nothing when no known name is near."""
    close = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _entries(group: str) -> dict[str, str]:
    """Name → target; names that several plug-ins chose carry their target, so none is shadowed."""
    found = {(entry.name, entry.value) for entry in entry_points(group=group)}
    project = checkout_project() or {}
    found |= set(project.get("entry-points", {}).get(group, {}).items())
    names = [name for name, _ in found]
    return {
        name if names.count(name) == 1 else f"{name} ({target})": target
        for name, target in sorted(found)
    }


def _package_folder(package: str) -> Path:
    """Where a package's files are, importing nothing."""
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location, *rest)
        if folder.is_dir():
            return folder
    raise UserError(
        f"The tasks of {package} are announced but its files are not there.",
        fix=f"Install {top} again, or uninstall it.",
    )


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{target} is announced but cannot be imported: {error}",
            fix=f"Install {module.partition('.')[0]} again, with what it needs, or uninstall it.",
        ) from error
