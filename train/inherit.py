"""Recipe files that build on others: `extends: FILE`, or a list of them, beside the file itself.

What a file says is laid over what it extends, the later of a list over the earlier: tables key by
key, anything else whole; a key without a value takes the inherited one away. How long a run is and
what it is made of can be said in several ways (`budget.py`); saying it one way takes the others
away.
"""

import math
from pathlib import Path
from typing import Any

import yaml

from unimm_eval.api import UserError

_LENGTHS = ("steps", "tokens", "flops")
_MIXTURES = ("stages", "mixture")
_SWEEP_LEVELS = 3  # of a study's own tables: sweep, axes, values; then come fields of recipes


class _StrictLoader(yaml.SafeLoader):
    """A key that stands twice in a table is an error, not the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_values(path: Path) -> dict[str, Any]:
    """The table in a YAML file, laid over all that it extends. Raises UserError that names the file
    at fault: absent, not YAML, not a table, or extending itself."""
    return _read(path, behind=())


def laid_over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, of whole recipes; neither is touched."""
    left = dict(base)
    if given := [key for key in _LENGTHS if changes.get(key) is not None]:
        for key in _LENGTHS:
            if key not in given:
                left.pop(key, None)
    by_source = isinstance(changes.get("tokens"), dict)
    for key in _MIXTURES:
        if by_source or any(key != other and other in changes for other in _MIXTURES):
            left.pop(key, None)
    if any(key in changes for key in _MIXTURES) and isinstance(left.get("tokens"), dict):
        del left["tokens"]
    values = _merged(left, {key: value for key, value in changes.items() if key != "sweep"})
    if isinstance(changes.get("sweep"), dict):
        values["sweep"] = _merged(left.get("sweep", {}), changes["sweep"], levels=_SWEEP_LEVELS)
    return values


def _read(path: Path, *, behind: tuple[Path, ...]) -> dict[str, Any]:
    """`behind` are the files that led here."""
    chain = (*behind, path.resolve())
    if path.resolve() in behind:
        names = " extends ".join(file.name for file in chain[chain.index(path.resolve()) :])
        raise UserError(f"{path}: extends itself: {names}", fix="Take one `extends` away.")
    values = _load(path, behind=behind)
    bases = values.pop("extends", [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: extends: not the name of a file, nor a list of names")
    found: dict[str, Any] = {}
    for base in bases:
        found = laid_over(found, _read(path.parent / base, behind=chain))
    return laid_over(found, values)


def _load(path: Path, *, behind: tuple[Path, ...]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError as error:
        if behind:
            raise UserError(f"{behind[-1]}: extends {path.name}, and there is no {path}") from error
        raise UserError(f"{path}: no such recipe", fix="Give the path of a YAML file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: a recipe is a table of fields", fix="See train/recipes/demo.yaml."
        )
    return values


def _merged(
    base: dict[str, Any], changes: dict[str, Any], *, levels: float = math.inf
) -> dict[str, Any]:
    """Keys without a value take the inherited ones away in the first `levels` of tables; below,
    they stay, to do so later. Where nothing is inherited they are what they say: `decoder: null` is
    an encoder without one."""
    values = dict(base)
    for key, change in changes.items():
        if change is None and key in base and levels > 0:
            del values[key]
        elif isinstance(change, dict):
            inherited = values.get(key)
            inherited = inherited if isinstance(inherited, dict) else {}
            values[key] = _merged(inherited, change, levels=levels - 1)
        else:
            values[key] = change
    return values
