"""Prompts in GenEval's six tags, true and wrong scenes for them, and captions of scenes.

The metadata of a prompt is GenEval's (Ghosh et al., 2023): `include` and `exclude` lists, where
"position" stands on the second include and points at the first. So
`{"tag": "position", "include": [{"class": "ring", "count": 1}, {"class": "circle", "count": 1,
"position": ["left of", 0]}], "prompt": "a circle left of a ring"}`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unimm_eval.world.draw import Split, coin, pick, pick_some
from unimm_eval.world.holdout import (
    HELD_OUT_SHARE,
    is_held_out,
    is_pair_held_out,
    scene_is_held_out,
)
from unimm_eval.world.scenes import (
    COLOR_NAMES,
    DIRECTIONS,
    OPPOSITE,
    SHAPES,
    Scene,
    arrange,
    quadrants_for,
    relation,
    sample_counted,
    sample_distinct,
)

Metadata = dict[str, Any]

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
NUMBERS = {2: "two", 3: "three", 4: "four"}
_TAG_WEIGHTS = (0.07, 0.14, 0.21, 0.10, 0.26, 0.22)  # the tags that are hard to learn come often
_STATES_NO_COMBINATION = ("single_object", "counting")
_MAX_TRIES = 60


def plural(shape: str) -> str:
    """More than one of `shape`, as a word."""
    return "crosses" if shape == "cross" else shape + "s"


def noun(shape: str, color: str | None = None) -> str:
    """ "a circle", "an orange circle"."""
    words = shape if color is None else f"{color} {shape}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _prompt(rng: np.random.Generator, tag: str) -> Metadata:
    first, second = pick_some(rng, SHAPES, 2)
    if tag == "single_object":
        return {"tag": tag, "include": [{"class": first, "count": 1}], "prompt": noun(first)}
    if tag == "two_object":
        include = [{"class": first, "count": 1}, {"class": second, "count": 1}]
        return {"tag": tag, "include": include, "prompt": f"{noun(first)} and {noun(second)}"}
    if tag == "counting":
        count = pick(rng, tuple(NUMBERS))
        return {
            "tag": tag,
            "include": [{"class": first, "count": count}],
            "exclude": [{"class": first, "count": count + 1}],
            "prompt": f"{NUMBERS[count]} {plural(first)}",
        }
    if tag == "colors":
        color = pick(rng, COLOR_NAMES)
        include = [{"class": first, "count": 1, "color": color}]
        return {"tag": tag, "include": include, "prompt": noun(first, color)}
    if tag == "position":
        direction = pick(rng, DIRECTIONS)
        include = [
            {"class": second, "count": 1},
            {"class": first, "count": 1, "position": [direction, 0]},
        ]
        prompt = f"{noun(first)} {direction} {noun(second)}"
        return {"tag": tag, "include": include, "prompt": prompt}
    if tag == "color_attr":
        one, other = pick_some(rng, COLOR_NAMES, 2)
        include = [
            {"class": first, "count": 1, "color": one},
            {"class": second, "count": 1, "color": other},
        ]
        prompt = f"{noun(first, one)} and {noun(second, other)}"
        return {"tag": tag, "include": include, "prompt": prompt}
    raise ValueError(f"unknown tag {tag!r}; one of {', '.join(TAGS)}")


def prompt_is_held_out(metadata: Metadata) -> bool:
    """Whether the words of the prompt state a held-out combination."""
    include = metadata["include"]
    if len(include) == 1:
        only = include[0]
        return "color" in only and is_held_out(
            shape=only["class"], color=only["color"], relation="alone"
        )
    first, second = include[1], include[0]
    name = first["position"][0] if "position" in first else "beside"
    return is_pair_held_out(first=first["class"], second=second["class"], relation=name) or any(
        is_held_out(shape=item["class"], color=item["color"], relation="beside")
        for item in include
        if "color" in item
    )


def sample_prompt(rng: np.random.Generator, *, tag: str, split: Split) -> Metadata:
    """A prompt of `tag`; in training none that is held out, in evaluation about a quarter that are.

    The metadata carry `held_out`. Single objects and counts state no colour and no neighbour, so
    none of theirs is held out.
    """
    wanted = split != "train" and coin(rng, HELD_OUT_SHARE)
    while True:
        metadata = _prompt(rng, tag)
        held_out = prompt_is_held_out(metadata)
        if held_out == wanted or tag in _STATES_NO_COMBINATION:
            return {**metadata, "held_out": held_out}


def sample_scene_for(metadata: Metadata, rng: np.random.Generator) -> Scene:
    """A true picture of the prompt: exactly the named things; what it leaves open is free."""
    shapes: list[str] = []
    colors: list[str] = []
    for item in metadata["include"]:
        for _ in range(item["count"]):
            shapes.append(item["class"])
            colors.append(item.get("color") or pick(rng, COLOR_NAMES))
    position = metadata["include"][-1].get("position")
    quadrants = quadrants_for(rng, OPPOSITE[position[0]]) if position else None
    return arrange(rng, shapes=shapes, colors=colors, quadrants=quadrants)


def wrong_scene_for(metadata: Metadata, rng: np.random.Generator) -> Scene:
    """A picture that differs from a true one in one attribute, so that the prompt is false."""
    include = [dict(item) for item in metadata["include"]]
    changed = pick(rng, include)
    tag = metadata["tag"]
    if tag == "counting":
        count = changed["count"]
        changed["count"] = pick(rng, [n for n in (count - 1, count + 1) if n <= 4])
    elif tag == "position":
        direction = include[1]["position"][0]
        wrong = pick(rng, [name for name in DIRECTIONS if name != direction])
        include[1]["position"] = [wrong, 0]
    elif "color" in changed and coin(rng):
        changed["color"] = pick(rng, [name for name in COLOR_NAMES if name != changed["color"]])
    else:
        named = {item["class"] for item in include}
        changed["class"] = pick(rng, [name for name in SHAPES if name not in named])
    return sample_scene_for({**metadata, "include": include}, rng)


def caption_of(scene: Scene, rng: np.random.Generator) -> str:
    """A true caption of any scene, in the language of the prompts.

    Two different shapes in a row or column are captioned by their relation half of the time;
    colours are told half of the time, and of several equal shapes only when they share one.
    """
    things = scene.things
    colored = coin(rng)
    if len(things) == 2 and things[0].shape != things[1].shape and coin(rng):
        first, second = pick_some(rng, things, 2)
        name = relation(first, second)
        if name in OPPOSITE:
            return f"{noun(first.shape)} {name} {noun(second.shape)}"
    groups: dict[str, list[str]] = {}
    for thing in pick_some(rng, things, len(things)):
        groups.setdefault(thing.shape, []).append(thing.color)
    phrases = []
    for shape, colors in groups.items():
        color = colors[0] if colored and len(set(colors)) == 1 else None
        if len(colors) == 1:
            phrases.append(noun(shape, color))
        else:
            words = f"{color} {plural(shape)}" if color else plural(shape)
            phrases.append(f"{NUMBERS[len(colors)]} {words}")
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sample_pair(
    rng: np.random.Generator, *, split: Split, tags: Mapping[str, float] | None = None
) -> tuple[str, Scene, Metadata]:
    """(prompt, true scene, metadata) for text to image, the tags mixed by how hard they are, or as
    the weights in `tags` say.

    In training neither the words nor the picture show a held-out combination. In evaluation
    about a quarter do, and the metadata say so in `held_out`.
    """
    weights = _TAG_WEIGHTS if tags is None else [tags.get(tag, 0.0) for tag in TAGS]
    shares = np.cumsum(weights) / np.sum(weights)
    tag = TAGS[int(np.searchsorted(shares, rng.random()))]
    wanted = split != "train" and coin(rng, HELD_OUT_SHARE)
    while True:
        metadata = _prompt(rng, tag)
        stated = prompt_is_held_out(metadata)
        if stated and not wanted:
            continue
        for _ in range(_MAX_TRIES):
            scene = sample_scene_for(metadata, rng)
            if (stated or scene_is_held_out(scene)) == wanted:
                return metadata["prompt"], scene, {**metadata, "held_out": wanted}


def sample_captioned(rng: np.random.Generator, *, split: Split) -> tuple[str, Scene, bool]:
    """(caption, scene, held out) of an arbitrary scene, for image to text and flow loss."""
    wanted = split != "train" and coin(rng, HELD_OUT_SHARE)
    while True:
        count = 1 + int(rng.random() * 4)
        if coin(rng, 0.7):
            scene = sample_distinct(rng, things=count)
        else:
            same = 1 + int(rng.random() * count)
            scene = sample_counted(rng, shape=pick(rng, SHAPES), count=same, others=count - same)
        if scene_is_held_out(scene) == wanted:
            return caption_of(scene, rng), scene, wanted
