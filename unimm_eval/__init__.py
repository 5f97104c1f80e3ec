"""One command judges one checkpoint of a unified multimodal model.

    from unimm_eval import evaluate
    record = evaluate("demo", "mini")
    record.to_pandas()

Importing this package imports nothing else of it: each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimm_eval.api import RunRecord
    from unimm_eval.engine.evaluate import evaluate

    __version__: str

__all__ = ["RunRecord", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from unimm_eval.engine.evaluate import evaluate

        return evaluate
    if name == "RunRecord":
        from unimm_eval.api import RunRecord

        return RunRecord
    if name == "__version__":
        from importlib.metadata import version

        project = checkout_project()
        return str(project["version"]) if project else version("unimm-eval")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def checkout_project() -> dict[str, Any] | None:
    """Table `project` of the pyproject.toml when the code runs from a checkout, else None."""
    import tomllib
    from pathlib import Path

    path = Path(__file__).parent.parent / "pyproject.toml"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        project: dict[str, Any] = tomllib.load(file).get("project", {})
    return project if project.get("name") == "unimm-eval" else None
