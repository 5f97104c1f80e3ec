"""A model that answers from the request alone, and is wrong now and then."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fake_bench import COLOURS, HOSTILE
from unimm_eval.api import ChatRequest, ImageRequest


class FakeModel:
    name = "fake"
    fingerprint = "f4" * 32

    def describe(self) -> Mapping[str, Any]:
        return {"parameters": 12, "nested": {"encoder": HOSTILE}}

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[np.ndarray]:
        return [_picture(request) for request in requests]

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        return [f"{request.parts[0]} {HOSTILE}" for request in requests]


def _picture(request: ImageRequest) -> np.ndarray:
    rng = np.random.default_rng(request.seed)
    asked = request.prompt.split()[0]
    colour = asked if rng.random() < 0.7 else str(rng.choice(list(COLOURS)))
    noise = rng.integers(-20, 20, (16, 16, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


class FakeAdapter:
    """`fake`, and `fake:blind`, which makes no pictures."""

    summary: ClassVar[str] = f"a model for tests {HOSTILE}"
    examples: ClassVar[tuple[str, ...]] = ("fake", "fake:blind")
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"GeneratesText", "ReadsPictures", "GeneratesImages"}
    )

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec in cls.examples

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        able = {"GeneratesText", "ReadsPictures"}
        return frozenset(able if spec == "fake:blind" else able | {"GeneratesImages"})

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> FakeModel:
        return FakeModel()
