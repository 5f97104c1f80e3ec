"""Where the data of recipes lie: relative names, under a root that each machine has its own of."""

import os
from pathlib import Path
from typing import Any

ROOT_VARIABLE = "UNIMM_TRAIN_DATA"
_OF_A_SOURCE = ("path", "images", "videos", "trajectories")


def root_of_data(given: Path | None) -> Path | None:
    """The root that was given, or the environment's, absolute: what was put below it once stays
    where it is. None is the folder the command is given in."""
    named = str(given) if given is not None else os.environ.get(ROOT_VARIABLE, "")
    return Path(named).resolve() if named else None


def under(root: Path | None, values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe with the places of its sources below `root`."""
    sources = values.get("sources")
    if root is None or not isinstance(sources, dict):
        return values
    return {
        **values,
        "sources": {
            name: {
                key: str(root / value) if key in _OF_A_SOURCE and isinstance(value, str) else value
                for key, value in source.items()
            }
            if isinstance(source, dict)
            else source
            for name, source in sources.items()
        },
    }
