"""Trains the network of `fid:mini` and writes its weights beside the task.

    python bench/fid_classifier.py tasks/fid/classifier.safetensors

It names shape, colour and size of what stands in each quarter of pictures of the world's training
split (40 seconds of one core). Prints how often each is right on pictures of the validation split.
Another file is another metric: raise the version of `fid:mini`.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from unimm_eval.tasks.fid.classifier import FEATURES, as_input, make_network
from unimm_eval.world import COLORS, SHAPES, SIZES, Scene, render, rng_for, sample_captioned

STEPS = 1200
BATCH = 128
PICTURES = 20_000
HEADS = {"shape": (*SHAPES,), "color": (*COLORS,), "size": (*SIZES.values(),)}


def labels_of(scene: Scene) -> np.ndarray:
    """[4 quadrants, 3 heads], 0 where a quadrant is empty."""
    labels = np.zeros((4, len(HEADS)), np.int64)
    for thing in scene.things:
        for head, (name, values) in enumerate(HEADS.items()):
            labels[thing.quadrant, head] = 1 + list(values).index(getattr(thing, name))
    return labels


def draw(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    pictures, labels = [], []
    for index in range(count):
        rng = rng_for(split=split, purpose="fid classifier", index=index)
        scene = sample_captioned(rng, split=split)[1]
        pictures.append(render(scene))
        labels.append(labels_of(scene))
    return np.stack(pictures), np.stack(labels)


def losses(heads: Sequence[nn.Linear], features: torch.Tensor, labels: torch.Tensor):
    """Cross-entropy and accuracy of each head, over all quadrants."""
    for index, head in enumerate(heads):
        logits = head(features).unflatten(1, (4, -1)).flatten(0, 1)
        wanted = labels[:, :, index].flatten()
        yield nn.functional.cross_entropy(logits, wanted), (logits.argmax(1) == wanted).float()


def scale(network: nn.Sequential, pictures: np.ndarray) -> None:
    """Make the variances of the features of true pictures sum to 1: the unit of distances."""
    with torch.inference_mode():
        total = network(as_input(pictures)).double().var(0).sum().float()
        for parameter in network[-1].parameters():
            parameter.div_(total.sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    file = parser.parse_args().file
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    pictures, labels = draw("train", PICTURES)
    network = make_network()
    heads = nn.ModuleList(nn.Linear(FEATURES, 4 * (1 + len(v))) for v in HEADS.values())
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
    order = np.random.default_rng(0)
    for step in range(STEPS):
        rows = order.integers(0, PICTURES, BATCH)
        features = network(as_input(pictures[rows]))
        found = list(losses(heads, features, torch.from_numpy(labels[rows])))
        loss = torch.stack([loss for loss, _ in found]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    seen = pictures[:4096]
    pictures, labels = draw("val", 2000)
    with torch.inference_mode():
        found = losses(heads, network(as_input(pictures)), torch.from_numpy(labels))
        for name, (_, right) in zip(HEADS, found, strict=True):
            print(f"{name}: {right.mean().item():.3f}")
    scale(network, seen)
    save_file(network.state_dict(), file)


if __name__ == "__main__":
    main()
