"""When a picture is correct: GenEval's rules as a pure function of its detections.

Source: Ghosh, Hajishirzi & Schmidt, "GenEval", NeurIPS 2023, and the behaviour of its released
evaluator (djghosh13/geneval at af4902f). Coordinates are pixels, x to the right, y downwards.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Detection = tuple[float, float, float, float, float]
"""A box and its score."""
Detections = Mapping[str, Sequence[Detection]]
"""Per class, in any order, before any threshold."""

THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
MAX_OBJECTS = 16
POSITION_SLACK = 0.1


def score_image(
    detections: Detections,
    metadata: Mapping[str, Any],
    *,
    classify_color: Callable[[str, Box], str],
) -> tuple[bool, str]:
    """Whether the picture shows what `metadata` asks for, and if not, why.

    Every group of `include` must be found: at least `count` objects of `class`, of which the
    `count` most confident have the `color` and stand in the `position` to those of an earlier
    group. No class of `exclude` may reach its `count`. Other objects never hurt.
    `classify_color(class, box)` is asked at most once a box, and only where a colour is asked for.
    """
    found = {name: [row[:4] for row in rows] for name, rows in kept(detections, metadata).items()}
    colors: dict[tuple[str, Box], str] = {}

    def color_of(name: str, box: Box) -> str:
        if (name, box) not in colors:
            colors[name, box] = classify_color(name, box)
        return colors[name, box]

    reasons: list[str] = []
    groups: list[list[Box] | None] = []  # None: the group is not as asked for
    for wanted in metadata.get("include", ()):
        boxes = found.get(wanted["class"], [])[: wanted["count"]]
        reason = _fault(wanted, boxes, groups, color_of)
        groups.append(None if reason else boxes)
        if reason:
            reasons.append(reason)
    for unwanted in metadata.get("exclude", ()):
        seen = len(found.get(unwanted["class"], []))
        if seen >= unwanted["count"]:
            reasons.append(
                f"expected fewer than {unwanted['count']} {unwanted['class']}, saw {seen}"
            )
    return not reasons, "; ".join(reasons)


def _fault(
    wanted: Mapping[str, Any],
    boxes: Sequence[Box],
    groups: Sequence[Sequence[Box] | None],
    color_of: Callable[[str, Box], str],
) -> str:
    """Why `boxes`, the most confident ones of the class, are not what is wanted; "" if they are."""
    name, count = wanted["class"], wanted["count"]
    if len(boxes) < count:
        return f"expected {count} {name}, saw {len(boxes)}"
    if "color" in wanted:
        colors = [color_of(name, box) for box in boxes]
        if colors.count(wanted["color"]) < count:
            return f"expected {wanted['color']} {name}, saw {', '.join(colors)}"
    if "position" in wanted:
        relation, target = wanted["position"]
        others = groups[target]
        if others is None:
            return f"nothing for {name} to be {relation}"
        for box in boxes:
            for other in others:
                seen = relative_position(box, other)
                if relation not in seen:
                    found = " and ".join(sorted(seen)) or "no relation"
                    return f"expected {name} {relation} target, saw {found}"
    return ""


def kept(detections: Detections, metadata: Mapping[str, Any]) -> dict[str, list[Detection]]:
    """What is looked at, by class: detections scored above the threshold (strictly), the best
    `MAX_OBJECTS`, most confident first; classes without any are left out.

    Equal scores are ordered by their box, so that the order of detections decides nothing.
    """
    threshold = COUNTING_THRESHOLD if metadata.get("tag") == "counting" else THRESHOLD
    found: dict[str, list[Detection]] = {}
    for name, given in detections.items():
        rows = [(x1, y1, x2, y2, score) for x1, y1, x2, y2, score in given]
        best = sorted(rows, key=lambda row: (-row[4], row[:4]))[:MAX_OBJECTS]
        if above := [row for row in best if row[4] > threshold]:
            found[name] = above
    return found


def boxes_to_color(
    detections: Detections, metadata: Mapping[str, Any]
) -> tuple[tuple[str, Box], ...]:
    """The (class, box) pairs that `score_image` will ask the colour of, each once; so that they can
    be classified together beforehand."""
    found = kept(detections, metadata)
    asked = {
        (wanted["class"], row[:4]): None
        for wanted in metadata.get("include", ())
        if "color" in wanted and len(found.get(wanted["class"], ())) >= wanted["count"]
        for row in found.get(wanted["class"], ())[: wanted["count"]]
    }
    return tuple(asked)


def relative_position(a: Box, b: Box) -> frozenset[str]:
    """How `a` stands to `b`: none, one or two of left of, right of, above, below.

    The offset of the centres is shrunk on each axis by a tenth of the two boxes' sizes; the rest,
    relative to the length of the unshrunk offset, must exceed one half.
    """
    offset = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    sizes = [abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i]) for i in (0, 1)]
    rest = [
        math.copysign(max(abs(o) - POSITION_SLACK * size, 0.0), o)
        for o, size in zip(offset, sizes, strict=True)
    ]
    if all(abs(component) < 1e-3 for component in rest):
        return frozenset()
    length = math.hypot(*offset)
    dx, dy = rest[0] / length, rest[1] / length
    holds = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return frozenset(name for name, true in holds.items() if true)
