"""By how much an error bar that takes questions about one picture for independent is too small.

    python -m bench.vqa_clusters

A simulation: each picture has a difficulty of its own, from which the verdicts on its questions are
drawn. The true spread is that of the accuracy over many such benchmarks; the two errors are what
the tasks report as `stderr` and, in the facts, as `stderr_if_unclustered`. Prints a Markdown table.
"""

import argparse

import numpy as np

from unimm_eval.tasks.vqa16.units import Question, mean_of, questions_alone

LAYOUTS = {
    "400 × 31, as GQA has": (400, 31),
    "1,000 × 3": (1000, 3),
    "1,000 × 2": (1000, 2),
}
"""Pictures × questions about each."""
CORRELATIONS = (0.02, 0.05, 0.1, 0.2)
"""Of the verdicts on two questions about one picture, at an accuracy of one half."""
REPORTED = 4
"""Benchmarks whose errors are computed by the task's own code; they hardly differ."""


def simulate(
    pictures: int, questions: int, correlation: float, *, benchmarks: int
) -> tuple[float, float, float]:
    """(true spread, reported error, unclustered error) of the accuracy in percent.

    A picture's accuracy is beta-distributed with both parameters (1/ρ − 1)/2, so that two verdicts
    on it correlate by ρ.
    """
    rng = np.random.default_rng(0)
    shape = 0.5 * (1 / correlation - 1)
    ease = rng.beta(shape, shape, size=(benchmarks, pictures, 1))
    right = rng.random((benchmarks, pictures, questions)) < ease
    spread = 100 * float(right.mean(axis=(1, 2)).std(ddof=1))
    errors = [_errors(verdicts) for verdicts in right[:REPORTED]]
    reported, unclustered = np.mean(errors, axis=0).tolist()
    return spread, reported, unclustered


def _errors(right: np.ndarray) -> tuple[float, float]:
    """What the task says of the verdicts bool [pictures, questions]."""
    asked = [
        Question(value=float(verdict), cluster=str(picture))
        for picture, verdicts in enumerate(right)
        for verdict in verdicts
    ]
    metric = mean_of("accuracy", questions_alone(asked))
    assert metric is not None
    assert metric.stderr is not None
    return metric.stderr, metric.facts["stderr_if_unclustered"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=int, default=400, help="simulated benchmarks a row")
    arguments = parser.parse_args()
    print("| pictures × questions | correlation | true spread | clustered | naive | too small by |")
    print("|---|---|---|---|---|---|")
    for name, (pictures, questions) in LAYOUTS.items():
        for correlation in CORRELATIONS:
            true, clustered, naive = simulate(
                pictures, questions, correlation, benchmarks=arguments.benchmarks
            )
            print(
                f"| {name} | {correlation} | {true:.2f} | {clustered:.2f} | {naive:.2f} "
                f"| {clustered / naive:.2f} × |"
            )


if __name__ == "__main__":
    main()
