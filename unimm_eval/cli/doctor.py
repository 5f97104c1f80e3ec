"""`unimm-eval doctor`: what this installation and machine are, and what is amiss."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from unimm_eval import __version__, data
from unimm_eval.api import EXIT_OK, EXIT_USER, UserError
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.engine.registry import model_adapters, task_entries
from unimm_eval.report.plain import one_line

SHOWN = ("torch", "torchvision", "transformers", "lm-eval", "lmms-eval", "numpy", "pillow")
EXTRAS = {
    "ray": "ray",
    "diffusers": "diffusers",
    "modelscope": "modelscope",
    "hdf5": "h5py",
    "track": "wandb",
    "test": "pytest",
}
GIGABYTE = 1e9


def examine() -> int:
    """Print the findings; the exit code is 2 when something must be mended."""
    from rich.text import Text

    console = console_for_tables()
    for title, findings in (
        ("versions", _versions()),
        ("machine", _machine()),
        ("folders", _folders()),
        ("extras", _extras()),
    ):
        console.print(Text(title, style="bold"))
        for name, finding in findings:
            console.print(Text.assemble((f"  {name:<14}", "dim"), one_line(finding)))
    problems = list(_problems())
    for problem in problems:
        console.print(Text(f"✗ {one_line(problem)}", style="red"))
    if not problems:
        console.print(Text("✓ nothing is amiss", style="green"))
    return EXIT_USER if problems else EXIT_OK


def _versions() -> Iterator[tuple[str, str]]:
    yield "unimm-eval", __version__
    yield "python", platform.python_version()
    for package in SHOWN:
        yield package, _version(package) or "missing"


def _machine() -> Iterator[tuple[str, str]]:
    import torch

    yield "system", platform.platform()
    yield "cores", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"
    yield "threads", f"{torch.get_num_threads()} of torch"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield "memory", f"{memory / GIGABYTE:.1f} GB"
    if not torch.cuda.is_available():
        yield "accelerator", "none"
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB"


def _folders() -> Iterator[tuple[str, str]]:
    yield "data", _room(data.data_dir())
    yield "runs", _room(Path("runs").absolute())
    yield "code", str(Path(__file__).parent.parent)


def _extras() -> Iterator[tuple[str, str]]:
    for extra, package in EXTRAS.items():
        found = _version(package)
        yield extra, f"{package} {found}" if found else f"pip install 'unimm-eval[{extra}]'"


def _problems() -> Iterator[str]:
    for requirement in _unmet():
        yield f"{requirement} is not installed; run: pip install '{requirement}'"
    for look in (task_entries, model_adapters):
        try:
            look()
        except UserError as error:
            yield str(error)


def _unmet() -> Iterator[str]:
    from packaging.requirements import Requirement

    try:
        needed = requires("unimm-eval") or []
    except PackageNotFoundError:
        return  # a checkout that was never installed announces no requirements
    for text in needed:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found = _version(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                yield f"{requirement.name}{requirement.specifier}"


def _room(folder: Path) -> str:
    """The folder and the room on its disk, whether it exists yet or not."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / GIGABYTE
    writable = "" if os.access(existing, os.W_OK) else ", not writable"
    return f"{folder} ({free:.0f} GB free{writable})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
