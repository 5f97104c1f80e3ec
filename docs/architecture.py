"""Draws docs/architecture.png, the figure of model/README.md:  python docs/architecture.py"""

import io
from itertools import pairwise
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image

WIDTH, HEIGHT = 800, 616
"""One unit is a pixel of a page 800 pixels wide; the file has two a unit."""

TEXT, IMAGE, BOTH, INK, FAINT = "#2b65a8", "#c8641c", "#5d6673", "#20262e", "#b4bcc6"
PALE = {TEXT: "#e4eef9", IMAGE: "#fdeedf", BOTH: "#f3f4f6"}

SEQUENCE = ("<bos>", "a", "red", "ring", "<boi>", "", "", "", "", "<eoi>", "<eos>")
TARGETS = ("a", "red", "ring", "<boi>", None, "", "", "", "", "<eos>", None)
PICTURE = range(5, 9)
CELL, LEFT, RIGHT = 41, 18, 496
SPLIT, JOIN, END = (LEFT + k * CELL for k in (5, 9, 11))
"""Where the picture begins and ends, and where the sequence ends."""


class Page:
    """A canvas in pixels, y upwards."""

    def __init__(self) -> None:
        self.figure = plt.figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=200)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        self.axes.axis("off")

    def text(self, x: float, y: float, label: str, **style: object) -> None:
        given = {"size": 8, "color": INK, "va": "center", "linespacing": 1.35, **style}
        self.axes.text(x, y, label, **given)  # type: ignore[arg-type]

    def title(self, x: float, y: float, label: str) -> None:
        self.text(x, y, label, size=9.5, weight="bold")

    def box(
        self, x: float, y: float, w: float, h: float, label: str = "", color: str = BOTH
    ) -> None:
        """A rounded box with a label in its middle."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x + 4, y + 4),
                w - 8,
                h - 8,
                boxstyle="round,pad=4,rounding_size=5",
                facecolor=PALE[color],
                edgecolor=color,
                linewidth=0.9,
            )
        )
        self.text(x + w / 2, y + h / 2, label, ha="center")

    def cell(self, x: float, y: float, label: str, color: str) -> None:
        """A token, 22 pixels high."""
        self.axes.add_patch(
            Rectangle((x + 1, y), CELL - 2, 22, facecolor=PALE[color], edgecolor="none")
        )
        style = {"ha": "center", "va": "baseline", "color": color, "size": 7.6}
        self.text(x + CELL / 2, y + 7.5, label, **style)

    def arrow(self, *points: tuple[float, float], color: str = BOTH) -> None:
        """A line through points, with a head at the last."""
        for begin, end in pairwise(points):
            style = "-|>,head_length=3,head_width=1.6" if end == points[-1] else "-"
            self.axes.add_patch(
                FancyArrowPatch(
                    begin, end, arrowstyle=style, color=color, linewidth=0.9, shrinkA=0, shrinkB=0
                )
            )

    def columns(self, bottom: float, top: float) -> None:
        """An arrow upwards for each part of the sequence."""
        for begin, end, color in ((LEFT, SPLIT, TEXT), (SPLIT, JOIN, IMAGE), (JOIN, END, TEXT)):
            middle = (begin + end) / 2
            self.arrow((middle, bottom), (middle, top), color=color)

    def save(self, path: Path) -> None:
        """As a PNG of few colours: a third of the size, and no difference to the eye."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer)
        few = Image.open(buffer).convert("RGB").quantize(96, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def model(page: Page, top: float) -> None:
    """From a caption and a picture up to both losses."""
    page.title(LEFT, top, "Training: one transformer, two losses")
    total = "$\\lambda_{LM} L_{LM} + \\lambda_{flow} L_{flow}$ (eq. 3)"
    page.text(END, top, total, ha="right", color=BOTH)
    y = top - 40
    for index, label in enumerate(TARGETS):
        if label is not None:
            color = IMAGE if index in PICTURE else TEXT
            page.cell(LEFT + index * CELL, y, label or "$v$", color)
    page.columns(y - 12, y - 2)
    y -= 50
    page.box(LEFT, y, SPLIT - LEFT - 3, 38, "text head\ncross-entropy (eq. 1)", TEXT)
    page.box(SPLIT, y, JOIN - SPLIT, 38, "latent head: x̂ or v̂\nsquared error of v (eq. 2)", IMAGE)
    page.box(JOIN + 3, y, END - JOIN - 3, 38, "text head", TEXT)
    page.columns(y - 12, y)
    y -= 34
    page.box(LEFT, y, END - LEFT, 22, "RMSNorm")
    page.columns(y - 12, y)
    y -= 230
    blocks(page, y, height=218)
    page.columns(y - 12, y)
    y -= 50
    page.box(LEFT, y, SPLIT - LEFT - 3, 38, "embedding", TEXT)
    page.box(SPLIT, y, JOIN - SPLIT, 38, "projection\n+ time t + place", IMAGE)
    page.box(JOIN + 3, y, END - JOIN - 3, 38, "embedding", TEXT)
    page.columns(y - 12, y)
    y -= 36
    for index, label in enumerate(SEQUENCE):
        color = IMAGE if index in PICTURE else TEXT
        page.cell(LEFT + index * CELL, y, label or "$z_t$", color)
    inputs(page, y)


def blocks(page: Page, y: float, *, height: float) -> None:
    """One block of the backbone."""
    page.box(LEFT, y, END - LEFT, height)
    page.text(END - 12, y + height - 16, "× L", ha="right", size=10, weight="bold", color=BOTH)
    x, width, trunk = LEFT + 78, 296, (LEFT + END) / 2
    parts = (
        ("attention", "grouped queries, rotary positions, hybrid mask"),
        ("feed-forward", "shared, for each modality, or experts"),
    )
    for index, (name, note) in enumerate(parts):
        base = y + 18 + 100 * index
        page.box(x, base, width, 20, "RMSNorm")
        page.box(x, base + 28, width, 42)
        page.text(trunk, base + 57, name, ha="center", weight="bold")
        page.text(trunk, base + 41, note, ha="center", size=7.6)
        plus = base + 84
        page.arrow((trunk, base - 18 + 12 * (index > 0)), (trunk, base))
        page.arrow((trunk, base + 20), (trunk, base + 28))
        page.arrow((trunk, base + 70), (trunk, plus - 6))
        page.arrow((trunk, base - 9), (x - 30, base - 9), (x - 30, plus), (trunk - 6, plus))
        page.axes.add_patch(Circle((trunk, plus), 6, facecolor="white", edgecolor=BOTH, lw=0.9))
        page.text(trunk, plus - 0.4, "+", ha="center", color=BOTH)


def inputs(page: Page, top: float) -> None:
    """Where tokens and latents come from."""
    y = top - 50
    page.box(LEFT, y, SPLIT - LEFT - 3, 38, "tokenizer\n“a red ring”", TEXT)
    page.arrow(((LEFT + SPLIT) / 2, y + 38), ((LEFT + SPLIT) / 2, top - 2), color=TEXT)
    page.box(
        SPLIT, y, JOIN - SPLIT, 38, "$z_t = (1-t)\\,\\epsilon + t\\,z_0$\nfrozen encoder", IMAGE
    )
    page.arrow(((SPLIT + JOIN) / 2, y + 38), ((SPLIT + JOIN) / 2, top - 2), color=IMAGE)
    side, x = 38, JOIN + 30
    grid = np.linspace(-1, 1, 200)
    radius = np.hypot(*np.meshgrid(grid, grid))
    pixels = np.full((200, 200, 3), (0.93, 0.94, 0.96))
    pixels[(radius > 0.42) & (radius < 0.72)] = (0.82, 0.16, 0.16)
    page.axes.imshow(pixels, extent=(x, x + side, y, y + side), aspect="auto", zorder=2)
    half = side / 2  # four patches, four tokens
    page.axes.plot((x + half, x + half), (y, y + side), color="white", lw=1, zorder=3)
    page.axes.plot((x, x + side), (y + half, y + half), color="white", lw=1, zorder=3)
    page.arrow((x - 2, y + side / 2), (JOIN, y + side / 2), color=IMAGE)


def hybrid_mask(page: Page, top: float) -> None:
    """Which keys a query sees, in a row with two documents."""
    page.title(RIGHT, top, "Hybrid mask of a packed row")
    kinds = "tttt" + "iiii" + "tt" + "tt" + "iiii" + "tt"
    starts, size = (0, 10), 9.5
    x, y = RIGHT + 18, top - 18 - size * len(kinds)
    for query, kind in enumerate(kinds):
        first = max(start for start in starts if start <= query)
        last = query
        while kind == "i" and last + 1 < len(kinds) and kinds[last + 1] == "i":
            last += 1
        for key in range(len(kinds)):
            color = (IMAGE if kind == "i" else TEXT) if first <= key <= last else PALE[BOTH]
            at = (x + key * size, y + (len(kinds) - 1 - query) * size)
            page.axes.add_patch(
                Rectangle(at, size - 1, size - 1, facecolor=color, edgecolor="none")
            )
    side, end = size * len(kinds), x + size * len(kinds)
    page.text(x + side / 2, y - 10, "keys →", ha="center", size=7.6, color=BOTH)
    page.text(x - 10, y + side / 2, "← queries", ha="center", size=7.6, color=BOTH, rotation=90)
    notes = (
        (2, TEXT, "text: itself and\nwhat precedes it"),
        (6, IMAGE, "picture: also the\nwhole of itself"),
        (14, BOTH, "another document:\nnothing of this one"),
    )
    for query, color, note in notes:
        page.text(end + 7, y + side - size * query - 4, note, size=7.6, color=color)


def feed_forwards(page: Page, top: float) -> None:
    """The three kinds of feed-forward layer."""
    page.title(RIGHT, top, "Feed-forward layers")
    y, left = top - 104, RIGHT
    lanes = ((66, "shared", "one for all"), (92, "modality", "one for each"))
    for width, name, note in (*lanes, (118, "moe", "top k, and its own")):
        middle, style = left + width / 2, {"ha": "center", "va": "baseline"}
        page.text(middle, y - 16, name, family="DejaVu Sans Mono", **style)
        page.text(middle, y - 31, note, size=7.6, color=BOTH, **style)
        if name == "moe":
            experts(page, left, y, width)
        else:
            apart = 11.0 if name == "shared" else width / 4 + 1
            if name == "shared":
                page.box(left + 6, y + 28, width - 12, 28, "FFN")
            for sign, color in ((-1, TEXT), (1, IMAGE)):
                x = middle + sign * apart
                if name == "modality":
                    page.box(x - apart + 2, y + 28, 2 * apart - 4, 28, "FFN", color)
                page.arrow((x, y), (x, y + 28), color=color)
                page.arrow((x, y + 56), (x, y + 84), color=color)
        left += width + 5
    page.text(
        RIGHT,
        y - 70,
        "With modality for attention, too, projections and\n"
        "norms are of each modality’s own: the Mixture-\nof-Transformers.",
        size=7.8,
    )


def experts(page: Page, left: float, y: float, width: float) -> None:
    """A router, eight experts of which a token of text and one of a picture chose two each, and a
    shared expert for each modality."""
    chosen = (None, IMAGE, None, TEXT, TEXT, None, IMAGE, None)
    page.box(left + 2, y + 12, 84, 20, "router")
    places = [(left + 2 + 10.8 * k, color) for k, color in enumerate(chosen)]
    places += [(left + width - 22 + 12 * k, color) for k, color in enumerate((TEXT, IMAGE))]
    for x, color in places:
        face, edge = (color, color) if color else (PALE[BOTH], FAINT)
        page.axes.add_patch(
            Rectangle((x, y + 42), 8, 26, facecolor=face, edgecolor=edge, linewidth=0.8)
        )
    for k, (x, color) in enumerate(places):
        if color:
            begin = y + 32 if k < len(chosen) else y
            page.arrow((x + 4, begin), (x + 4, y + 42), color=color)
            page.arrow((x + 4, y + 68), (x + 4, y + 84), color=color)
    for offset, color in ((-11, TEXT), (11, IMAGE)):
        page.arrow((left + 44 + offset, y), (left + 44 + offset, y + 12), color=color)


def generation(page: Page, top: float) -> None:
    """How a picture comes about behind a prompt."""
    page.title(LEFT, top, "Generation: the context is encoded once, a picture denoised behind it")
    steps = (
        (118, TEXT, "“a red ring” <boi>\nand <bos> <boi>"),
        (128, BOTH, "keys and values\nof both, in a cache"),
        (206, IMAGE, "25 times, both in one pass:\n$v = v_u + s\\,(v_c - v_u)$,  t: 0 → 1"),
        (132, IMAGE, "the picture, clean,\ninto the cache: t = 1"),
        (104, TEXT, "<eoi>, and text\ngoes on"),
    )
    x, y, gap = LEFT, top - 56, (WIDTH - 2 * LEFT - sum(step[0] for step in steps)) / 4
    for width, color, label in steps:
        page.box(x, y, width, 38, label, color)
        if x > LEFT:
            page.arrow((x - gap, y + 19), (x, y + 19))
        x += width + gap


def main() -> None:
    matplotlib.rcParams["font.family"] = "DejaVu Sans"
    page = Page()
    model(page, HEIGHT - 20)
    hybrid_mask(page, HEIGHT - 20)
    feed_forwards(page, HEIGHT - 268)
    generation(page, 66)
    page.save(Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
