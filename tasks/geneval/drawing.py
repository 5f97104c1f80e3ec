"""Asking a model for the pictures of prompts."""

from collections.abc import Iterator, Sequence
from typing import Any

from unimm_eval.api import ImageRequest, Item, Output, Picture, Solver


def draw(
    model: Any,
    items: Sequence[Item],
    *,
    num_inference_steps: int,
    guidance_scale: float,
    solver: Solver,
) -> Iterator[Output]:
    """One picture an item; `key` and `prompt` stand in the inputs of its sample."""
    requests = [
        ImageRequest(
            sample_id=item.sample.id,
            repeat=item.repeat,
            seed=item.seed,
            prompt=item.sample.inputs["prompt"],
            key=item.sample.inputs["key"],
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            solver=solver,
        )
        for item in items
    ]
    for item, array in zip(items, model.generate_images(requests), strict=True):
        yield Output(
            sample_id=item.sample.id,
            repeat=item.repeat,
            media={"picture": Picture(array=array)},
        )
