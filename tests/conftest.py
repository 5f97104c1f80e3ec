"""What every test shares."""

import os
from pathlib import Path

import pytest

# Before torch is imported: workers of pytest-xdist share the cores, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's tasks (`colours:mini`, `echo`) and model (`fake`), as if installed."""
    monkeypatch.syspath_prepend(PLUGIN)
    return PLUGIN
