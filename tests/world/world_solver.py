"""Answers a question from the picture alone, by other means than the generator's.

Scenes are read from rendered pixels by the detector; digits, bars and links from the description.
None if the picture does not admit the question.
"""

import re

from unimm_eval.world import (
    SHAPES,
    Chart,
    Detection,
    Diagram,
    Page,
    Question,
    Scene,
    detect,
    render,
)
from unimm_eval.world.captions import plural
from unimm_eval.world.digits import digit_label
from unimm_eval.world.pictures import Picture

_CORNERS = {"circle": 0, "ring": 0, "triangle": 3, "square": 4, "diamond": 4, "bar": 4, "cross": 12}
_LIGHTS = {
    frozenset(("red", "green")): "yellow",
    frozenset(("green", "blue")): "cyan",
    frozenset(("red", "blue")): "purple",
    frozenset(("red", "green", "blue")): "white",
}


def _centre(thing: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = thing.box
    return (x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2


def _size(thing: Detection) -> int:
    return max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])


def _only(things: list[Detection], **wanted: str) -> Detection | None:
    found = [t for t in things if all(getattr(t, key) == value for key, value in wanted.items())]
    return found[0] if len(found) == 1 else None


def _stands(first: Detection, direction: str, second: Detection) -> bool:
    (x1, y1), (x2, y2) = _centre(first), _centre(second)
    dx, dy = x1 - x2, y1 - y2
    if direction in ("left", "right"):
        return abs(dy) < 8 <= abs(dx) and (dx < 0) == (direction == "left")
    return abs(dx) < 8 <= abs(dy) and (dy < 0) == (direction == "above")


def _neighbour(
    things: list[Detection], direction: str, target: Detection | None
) -> Detection | None:
    if target is None:
        return None
    found = [t for t in things if t is not target and _stands(t, direction, target)]
    return found[0] if len(found) == 1 else None


def _scene(things: list[Detection], text: str, choices: tuple[str, ...]) -> str | None:
    if match := re.fullmatch(r"what shape is (\w+)\?", text):
        thing = _only(things, color=match[1])
        return thing and thing.shape
    if match := re.fullmatch(r"what color is the (\w+)\?", text):
        thing = _only(things, shape=match[1])
        return thing and thing.color
    if match := re.fullmatch(r"how many (\w+?)(?:, (plus|minus) (\d))?\?", text):
        shape = next((name for name in SHAPES if match[1] == plural(name)), None)
        count = sum(t.shape == shape for t in things)
        step = int(match[3] or 0)
        answer = str(count - step if match[2] == "minus" else count + step)
        return answer if count else None
    if match := re.fullmatch(r"what is (top|bottom) (left|right)\?", text):
        corner = ((match[2] == "right"), (match[1] == "bottom"))
        found = [t for t in things if tuple(c > 16 for c in _centre(t)) == corner]
        return found[0].shape if len(found) == 1 else None
    if match := re.fullmatch(r"is there an? (\w+) (\w+)\?", text):
        return "yes" if _only(things, color=match[1], shape=match[2]) else "no"
    if match := re.fullmatch(r"what color is (left|right|above|below)(?: of)? the (\w+)\?", text):
        thing = _neighbour(things, match[1], _only(things, shape=match[2]))
        return thing and thing.color
    if match := re.fullmatch(
        r"what shape is (left|right|above|below)(?: of)? the (\w+) one\?", text
    ):
        thing = _neighbour(things, match[1], _only(things, color=match[2]))
        return thing and thing.shape
    if match := re.fullmatch(r"how many corners has the (\w+) shape\?", text):
        thing = _only(things, color=match[1])
        return str(_CORNERS[thing.shape]) if thing and thing.shape in _CORNERS else None
    if text == "these lights mix to what color?":
        return _LIGHTS.get(frozenset(t.color for t in things))
    if match := re.fullmatch(r"which side is the (\w+) on\?", text):
        thing = _only(things, shape=match[1])
        if thing is None:
            return None
        x, y = _centre(thing)
        gaps = {"left": x, "right": 31 - x, "top": y, "bottom": 31 - y}
        return min(gaps, key=lambda side: gaps[side])
    if match := re.fullmatch(r"is the (\w+) shape (left or right|top or bottom)\?", text):
        thing = _only(things, color=match[1])
        axis = int(match[2] != "left or right")
        return thing and match[2].split(" or ")[_centre(thing)[axis] > 15.5]
    if match := re.fullmatch(r"is the (\w+) (?:\w+) or (?:\w+)(?: of)? the (\w+)\?", text):
        first, second = _only(things, shape=match[1]), _only(things, shape=match[2])
        if first is None or second is None:
            return None
        return next((word for word in choices if _stands(first, word, second)), None)
    if match := re.fullmatch(r"which is (closer|farther), (\w+) or (\w+)\?", text):
        pair = [_only(things, shape=match[2]), _only(things, shape=match[3])]
        if None in pair:
            return None
        near, far = sorted((t for t in pair if t), key=lambda t: -t.box[3])
        return near.shape if match[1] == "closer" else far.shape
    if (match := re.fullmatch(r"(\w+) or (\w+)\?", text)) and len(things) == 1:
        thing = things[0]
        words = {
            thing.shape,
            thing.color,
            "left" if _centre(thing)[0] < 16 else "right",
            "small" if _size(thing) < 11 else "large",
        }
        return next((word for word in (match[1], match[2]) if word in words), None)
    return None


def _special(picture: Picture, text: str) -> str | None:
    word = next((w for w in re.findall(r"\w+", text) if w in _COLORS), None)
    match picture:
        case Diagram():
            shapes = [thing.shape for thing in picture.scene.things]
            wanted = text.removesuffix("?").split()[-1]
            for i, j in picture.links:
                if wanted in (shapes[i], shapes[j]):
                    return shapes[j] if shapes[i] == wanted else shapes[i]
        case Chart():
            heights = dict(picture.bars)
            if word:
                return str(heights[word]) if word in heights else None
            pick = max if "tallest" in text else min
            extreme = [c for c, h in picture.bars if h == pick(heights.values())]
            return extreme[0] if len(extreme) == 1 else None
        case Page():
            labels = [str(digit_label(glyph.row)) for glyph in picture.glyphs]
            if word is None:
                return labels[0]
            marks = picture.marks.things or picture.glyphs
            found = [label for label, m in zip(labels, marks, strict=True) if m.color == word]
            return found[0] if len(found) == 1 else None
    return None


_COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")


def solve(question: Question, picture: Picture) -> str | None:
    """The answer to `question` on `picture`, a letter where it is one of lettered options."""
    stem, _, options = question.question.partition("? ")
    text = stem if stem.endswith("?") else stem + "?"
    if isinstance(picture, Scene):
        answer = _scene(detect(render(picture)), text, question.choices)
    else:
        answer = _special(picture, text)
    if not options:
        return answer
    lettered = dict(zip(options.split()[1::2], options.split()[::2], strict=True))
    return lettered.get(answer or "")
