"""Questions about a scene of the world and their exact answers.

They form DPG-Bench's three levels: is the thing there; is it so and where; how does it stand to
another. A thing is named by its shape, which occurs once in a scene.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from unimm_eval.tasks.dpgbench.graph import Question
from unimm_eval.tasks.geneval import verdict
from unimm_eval.tasks.geneval.rules import relative_position
from unimm_eval.world.scenes import CANVAS, CORNERS, OPPOSITE, Scene, relation

_NUMBERS = {3: "three", 4: "four"}


class WorldQuestion(Question):
    asks: list[Any]
    """What is asked, in a form that needs no reading: its kind and its arguments."""


def questions_about(scene: Scene) -> list[WorldQuestion]:
    """All questions whose answer is yes in a true picture of a scene of different shapes."""
    found: list[WorldQuestion] = []

    def add(category: str, question: str, asks: list[Any], parents: Sequence[int] = ()) -> int:
        number = len(found) + 1
        found.append(
            WorldQuestion(
                id=number,
                row=len(found),
                parents=list(parents),
                category=category,
                question=question,
                asks=asks,
            )
        )
        return number

    there = {
        thing.shape: add("entity - whole", f"Is there a {thing.shape}?", ["there", thing.shape])
        for thing in scene.things
    }
    count = len(scene.things)
    add("other - count", f"Are there {_NUMBERS[count]} things?", ["count", count])
    for thing in scene.things:
        shape, color, corner = thing.shape, thing.color, CORNERS[thing.quadrant]
        over = [there[shape]]
        asks = ["color", shape, color]
        add("attribute - color", f"Is the {shape} {color}?", asks, over)
        asks = ["place", shape, corner]
        add("relation - spatial", f"Is the {shape} at the {corner}?", asks, over)
    for first, second in combinations(scene.things, 2):
        direction = relation(first, second)
        if direction in OPPOSITE:
            question = f"Is the {first.shape} {direction} the {second.shape}?"
            asks = ["relation", first.shape, direction, second.shape]
            over = [there[first.shape], there[second.shape]]
            add("relation - spatial", question, asks, over)
    return found


def things_in(array: np.ndarray) -> list[list[Any]]:
    """What the world's detector sees in a uint8 picture of any size: rows of shape, colour, left,
    top, right, bottom, those of one shape the surest first."""
    _, _, details = verdict(array, {"include": []})
    return [[shape, color, *box] for shape, rows in details.items() for *box, _score, color in rows]


def answer(asks: Sequence[Any], seen: Sequence[Sequence[Any]]) -> bool:
    """The answer in a picture in which `things_in` are seen; of several things of a shape the
    surest is meant. Raises ValueError for a kind of question that there is not."""
    by_shape: dict[str, list[Sequence[Any]]] = defaultdict(list)
    for row in seen:
        by_shape[row[0]].append(row)
    match asks:
        case ["there", shape]:
            return shape in by_shape
        case ["count", number]:
            return len(seen) == number
        case ["color", shape, color]:
            return shape in by_shape and by_shape[shape][0][1] == color
        case ["place", shape, corner]:
            return shape in by_shape and _corner(by_shape[shape][0][2:]) == corner
        case ["relation", first, direction, second]:
            if first not in by_shape or second not in by_shape:
                return False
            boxes = [
                tuple(float(edge) for edge in by_shape[shape][0][2:]) for shape in (first, second)
            ]
            (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = boxes
            return direction in relative_position((ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2))
    raise ValueError(f"there is no question {list(asks)}")


def _corner(box: Sequence[int]) -> str:
    x1, y1, x2, y2 = box
    return CORNERS[2 * (y1 + y2 >= CANVAS) + (x1 + x2 >= CANVAS)]
