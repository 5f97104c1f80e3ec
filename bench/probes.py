"""How long probes of many layers and learning rates take, and how good they are.

    python -m bench.probes

Speed: 24 layers of 256 features of 10,000 pictures in ten classes, as a run keeps them (half
precision, in a file), under 8 learning rates and the penalties of `probes`, trained and judged
by its recipe. Quality: scikit-learn's digits, and 256 random features of them, against its
LogisticRegression on the same splits: with its default penalty, and with the one of five that is
best on validation, as the probe's learning rate is. Memory: the most that a process held while it
probed features larger than that. Writes `results/bench/probes.json`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import ArrayRow
from unimm_eval.engine.machine import processor
from unimm_eval.tasks.probes.classifiers import Probed, Recipe, train_classifiers
from unimm_eval.tasks.probes.official import ProbesOfficialConfig
from unimm_eval.tasks.probes.stacks import Stack

RECORD = Path(__file__).parent.parent / "results" / "bench" / "probes.json"
LAYERS, WIDTH, CLASSES, PICTURES = 24, 256, 10, 10_000
SPLITS = 5
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
LARGE_GIB = 3.0


def recipe() -> Recipe:
    """That of `probes`."""
    config = ProbesOfficialConfig()
    return Recipe(
        learning_rates=config.learning_rates,
        penalties=config.penalties,
        epochs=config.epochs,
        least_steps=config.least_steps,
        batch_size=config.probe_batch_size,
    )


def parts_of(pictures: int, *, seed: int) -> dict[str, np.ndarray]:
    """A random 60 % to learn from, 20 % to choose by and 20 % to report."""
    order = np.random.default_rng(seed).permutation(pictures)
    train, val, test = np.split(order, [int(0.6 * pictures), int(0.8 * pictures)])
    return {"train": train, "val": val, "test": test}


def stored(path: Path, *, pictures: int) -> tuple[Stack, np.ndarray]:
    """A file of features in which deeper layers tell classes better, and the classes."""
    rng = np.random.default_rng(0)
    classes = rng.integers(CLASSES, size=pictures)
    centres = (
        rng.normal(size=(LAYERS, CLASSES, WIDTH)) * np.linspace(0.05, 0.3, LAYERS)[:, None, None]
    )
    with path.open("wb") as file:
        shape = (pictures, LAYERS, WIDTH)
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, pictures, 2048):
            part = classes[start : start + 2048]
            noise = rng.standard_normal((len(part), LAYERS, WIDTH), dtype=np.float32)
            found = noise + centres[:, part].transpose(1, 0, 2)
            file.write(found.astype(np.float16).tobytes())
    rows = [ArrayRow(path=path, row=row) for row in range(pictures)]
    return Stack(rows=rows, shape=shape[1:], name="backbone"), classes


def train(stack: Stack, classes: np.ndarray, parts: dict[str, np.ndarray]) -> Probed:
    return train_classifiers(
        stack, classes, **parts, num_classes=CLASSES, recipe=recipe(), device="cpu"
    )


def speed() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        stack, classes = stored(Path(scratch) / "features.npy", pictures=PICTURES)
        parts = parts_of(PICTURES, seed=0)
        wall, cpu = time.perf_counter(), time.process_time()
        found = train(stack, classes, parts)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    accuracy = (found.said_test_NL == classes[parts["test"]][:, None]).mean(axis=0)
    return {
        "pictures": PICTURES,
        "layers": LAYERS,
        "width": WIDTH,
        "classes": CLASSES,
        "candidates": len(recipe().candidates),
        "steps": recipe().steps(len(parts["train"])),
        "batch_size": recipe().batch_size,
        "seconds": seconds,
        "accuracy_first_layer": float(accuracy[0]),
        "accuracy_last_layer": float(accuracy[-1]),
    }


def quality() -> list[dict[str, Any]]:
    """Mean test accuracies over random splits."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    weights = np.random.default_rng(0).normal(size=(images.shape[1], WIDTH)) / 8
    features = {
        "digits": images,
        "256 random features of digits": np.tanh((images / 16 - 0.3) @ weights * 2),
    }
    return [{"data": name, **_compared(found, classes)} for name, found in features.items()]


def _compared(features: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
    stack = Stack.of(
        [ArrayRow(array=row[None].astype(np.float16)) for row in features], name="features"
    )
    rows = []
    for seed in range(SPLITS):
        parts = parts_of(len(features), seed=seed)
        found = train(stack, classes, parts)
        ours = float((found.said_test_NL[:, 0] == classes[parts["test"]]).mean())
        rows.append((ours, *_logistic_regression(features, classes, parts)))
    ours, default, chosen = np.mean(rows, axis=0).tolist()
    return {
        "splits": SPLITS,
        "probe": ours,
        "logistic_regression": default,
        "logistic_regression_chosen_on_validation": chosen,
        "points_below_default": 100 * (default - ours),
    }


def _logistic_regression(
    features: np.ndarray, classes: np.ndarray, parts: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Test accuracy with the default penalty, and with the one best on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    on = {name: (features[places], classes[places]) for name, places in parts.items()}
    models = {
        penalty: make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000)).fit(
            *on["train"]
        )
        for penalty in PENALTIES
    }
    best = max(PENALTIES, key=lambda penalty: models[penalty].score(*on["val"]))
    return float(models[1.0].score(*on["test"])), float(models[best].score(*on["test"]))


def memory(gib: float) -> dict[str, float]:
    """The most that a process holds while it probes features of `gib` GiB, each read twice: once
    for their moments, and once to learn from or to judge."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "features.npy"
        _, classes = stored(path, pictures=int(gib * 2**30 / (2 * LAYERS * WIDTH)))
        np.save(path.with_name("classes.npy"), classes)
        # Of its own, for the most that this process has held counts too.
        ended = subprocess.run(
            [sys.executable, "-m", "bench.probes", "--probe", str(path)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(RECORD.parents[2])},
        )
        found: dict[str, float] = json.loads(ended.stdout)
        return {"features_gib": path.stat().st_size / 2**30, **found}


def probe_file(path: Path) -> dict[str, float]:
    """One epoch over the features in a file, and what this process came to hold."""
    classes = np.load(path.with_name("classes.npy"))
    rows = [ArrayRow(path=path, row=row) for row in range(len(classes))]
    parts = parts_of(len(classes), seed=0)
    found = train_classifiers(
        Stack.of(rows, name="backbone"),
        classes,
        **parts,
        num_classes=CLASSES,
        recipe=replace(recipe(), learning_rates=(4.0, 16.0), epochs=1, least_steps=1),
        device="cpu",
    )
    right = found.said_test_NL[:, -1] == classes[parts["test"]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    return {"peak_gib": peak / 2**20, "accuracy_last_layer": float(right.mean())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe is not None:
        print(json.dumps(probe_file(options.probe)))
    else:
        import torch

        record = {
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "speed": speed(),
            "quality": quality(),
            "memory": memory(LARGE_GIB),
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(record, indent=1))
