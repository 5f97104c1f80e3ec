"""Draws docs/scaling.png, the figure of docs/scaling.md, from synthetic runs of known laws:
python docs/scaling.py"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from unimm_eval.scaling import read_points, study
from unimm_eval.scaling.plots import write_figure

FIGURE = Path(__file__).parent / "scaling.png"
NOISE = 0.001
"""Standard deviation of each loss, as a part of it."""

# E, A, α, B, β of L = E + A/N^α + B/D^β. They give a = β/(α+β) of about the paper's 0.47 and 0.37
# for dense models, 0.41 and 0.36 for mixtures of experts. Nothing else about them is the paper's.
LAWS = {
    ("language", "dense"): (1.69, 406.4, 0.34, 410.7, 0.30),
    ("vision", "dense"): (0.42, 600.0, 0.44, 60.0, 0.26),
    ("language", "moe"): (1.60, 300.0, 0.36, 500.0, 0.25),
    ("vision", "moe"): (0.42, 600.0, 0.45, 60.0, 0.253),
}
SPARSITY = 16


def rows() -> list[dict[str, object]]:
    """Seven sizes at each of six budgets, for each law."""
    rng = np.random.default_rng(0)
    made: list[dict[str, object]] = []
    for (modality, arch), (e, a, alpha, b, beta) in LAWS.items():
        for flops in np.geomspace(1e18, 1e21, 6):
            scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
            best = scale * (flops / 6) ** (beta / (alpha + beta)) * np.exp(rng.uniform(-0.2, 0.2))
            for size in np.geomspace(best / 8, best * 8, 7):
                tokens = flops / 6 / size
                loss = e + a * size**-alpha + b * tokens**-beta
                made.append(
                    {
                        "flops": flops,
                        "params": size * (SPARSITY if arch == "moe" else 1),
                        "tokens": tokens,
                        "loss": loss * (1 + NOISE * rng.standard_normal()),
                        "modality": modality,
                        "arch": arch,
                        "active_params": size,
                    }
                )
    return made


def main(table: Path | None = None) -> None:
    """Draw the figure; keep the runs in `table` when it is named."""
    with tempfile.TemporaryDirectory() as folder:
        path = table or Path(folder) / "synthetic.csv"
        with path.open("w", newline="") as file:
            made = rows()
            writer = csv.DictWriter(file, made[0])
            writer.writeheader()
            writer.writerows(made)
        found = study(read_points(path))
    title = f"Synthetic runs of known additive laws (no model was trained), noise {NOISE:.1%}"
    write_figure(FIGURE, found, title=title)
    Image.open(FIGURE).convert("RGB").quantize(64).save(FIGURE, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
