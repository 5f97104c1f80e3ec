"""Trains the network of `nwm:mini` and writes its weights beside the task.

    OMP_NUM_THREADS=1 python -m bench.room_classifier tasks/nwm/classifier.safetensors

It sees groups of views of a room of the world's training split, taken around one place, and says
of every pair how far apart they were taken. Some are blurred and noisy, as predicted frames are.
Prints how well it knows on rooms of the validation split. Another file is another metric: raise the
version of `nwm:mini`.
"""

import argparse
import time

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unimm_eval.tasks.nwm.classifier import as_input, make_network
from unimm_eval.world.draw import Split, rng_for
from unimm_eval.world.poses import moved, wrapped
from unimm_eval.world.rooms import WAYPOINT, Room, clearance, sample_room, view

ROOMS, VIEWS = 3000, 16
STEPS, BATCH = 2500, 16
RADII = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
WAYPOINTS_A_RADIAN = 3.0
SPREAD = (2.5, 1.6, 0.35)
"""Standard deviations of views about their place, as seen from it: ahead, left, turn."""


def draw_poses(rng: np.random.Generator, room: Room) -> np.ndarray:
    """[VIEWS, 3] about one place; three in ten are much nearer to it."""
    poses: list[np.ndarray] = []
    while not poses:
        place = rng.random(3) * (room.width, room.depth, 2 * np.pi)
        if clearance(room, place[:2]) > 0.4:
            poses.append(place)
    while len(poses) < VIEWS:
        nearer = 0.25 if rng.random() < 0.3 else 1.0
        motion = rng.standard_normal(3) * SPREAD * nearer
        pose = moved(poses[0], motion, spacing=WAYPOINT)
        if clearance(room, pose[:2]) > 0.15:
            poses.append(pose)
    return np.stack(poses)


def draw(split: Split, rooms: int) -> tuple[np.ndarray, np.ndarray]:
    """Views uint8 [rooms, VIEWS, 32, 32, 3] and poses [rooms, VIEWS, 3]."""
    views, poses = [], []
    for index in range(rooms):
        rng = rng_for(split=split, purpose="room classifier", index=index)
        room = sample_room(rng)
        poses.append(draw_poses(rng, room))
        views.append(view(room, poses[-1]))
    return np.stack(views), np.stack(poses)


def distances_between(poses: np.ndarray) -> Tensor:
    """float32 [rooms, pairs], in waypoints."""
    first, second = np.triu_indices(VIEWS, 1)
    apart = poses[:, first] - poses[:, second]
    moved_by = np.hypot(apart[..., 0], apart[..., 1]) / WAYPOINT
    turned = wrapped(apart[..., 2]) * WAYPOINTS_A_RADIAN
    return torch.from_numpy(np.hypot(moved_by, turned)).float()


def seen_distances(network: nn.Module, views: Tensor) -> Tensor:
    """[rooms, pairs] of features of views [rooms, VIEWS, 3, 32, 32]."""
    features = network(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    first, second = torch.triu_indices(VIEWS, VIEWS, 1)
    return torch.cdist(features, features)[:, first, second]


def roughened(views: Tensor, generator: torch.Generator) -> Tensor:
    """Some blurred, most with some noise."""
    flat = views.flatten(0, 1)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    blurred = nn.functional.pad(flat, (1, 1, 1, 1), mode="replicate")
    blurred = nn.functional.conv2d(blurred, kernel, groups=3)
    chosen = torch.rand(len(flat), 1, 1, 1, generator=generator) < 0.3
    flat = torch.where(chosen, blurred, flat)
    strength = 0.1 * torch.rand(len(flat), 1, 1, 1, generator=generator)
    return (flat + strength * torch.randn(flat.shape, generator=generator)).view_as(views)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    file = parser.parse_args().file
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    views, poses = draw("train", ROOMS)
    truth = distances_between(poses)
    network = make_network()
    radii = torch.tensor(RADII)
    bounds, slope = nn.Parameter(radii.clone()), nn.Parameter(torch.tensor(2.0))
    parameters = [*network.parameters(), bounds, slope]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=STEPS)
    generator, order = torch.Generator().manual_seed(0), np.random.default_rng(0)
    start, total = time.process_time(), 0.0
    for step in range(STEPS):
        rows = order.integers(0, ROOMS, BATCH)
        seen = seen_distances(network, roughened(as_input(views[rows]), generator))
        beyond = (truth[rows][..., None] > radii).float()
        logits = slope * (seen[..., None] - bounds)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, beyond)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 250 == 249:
            seconds = time.process_time() - start
            print(f"step {step + 1}: loss {total / 250:.4f}, {seconds:.0f} s", flush=True)
            total = 0.0
    views, poses = draw("val", 100)
    with torch.inference_mode():
        seen = seen_distances(network, as_input(views)).flatten()
    truth = distances_between(poses).flatten()
    correlation = np.corrcoef(seen, truth)[0, 1]
    error = (seen - truth).abs().mean().item()
    print(f"validation: correlation {correlation:.3f}, mean error {error:.2f} waypoints")
    save_file(network.state_dict(), file)


if __name__ == "__main__":
    main()
