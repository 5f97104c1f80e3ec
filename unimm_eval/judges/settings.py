"""How a judge is asked: nothing here changes what it would say, but for `options`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Limits of a server, and `options` that are sent along with every request."""

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
