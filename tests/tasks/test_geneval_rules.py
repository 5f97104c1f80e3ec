"""GenEval's rules: hand-made pictures, and what must not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimm_eval.tasks.geneval.rules import MAX_OBJECTS, relative_position, score_image

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


def box(x=0.0, y=0.0, size=10.0, score=0.95):
    return (x, y, x + size, y + size, score)


def no_color(name, where):
    raise AssertionError("no colour was asked for")


def wants(*include, tag="two_object", exclude=()):
    return {"tag": tag, "include": list(include), "exclude": list(exclude)}


def count_of(n, name="ring"):
    return wants(
        {"class": name, "count": n}, tag="counting", exclude=[{"class": name, "count": n + 1}]
    )


def verdict(detections, metadata, classify_color=no_color):
    return score_image(detections, metadata, classify_color=classify_color)[0]


def test_found_or_not():
    metadata = wants({"class": "ring", "count": 1}, {"class": "bar", "count": 1})
    assert verdict({"ring": [box()], "bar": [box(20)]}, metadata)
    assert score_image({"ring": [box()]}, metadata, classify_color=no_color) == (
        False,
        "expected 1 bar, saw 0",
    )


@pytest.mark.parametrize("score", [0.29, 0.3, 0.31])
def test_the_threshold_is_strict(score):
    found = verdict({"ring": [box(score=score)]}, wants({"class": "ring", "count": 1}))
    assert found == (score > 0.3)


@pytest.mark.parametrize("score", [0.31, 0.9, 0.91])
def test_counting_asks_for_more(score):
    assert verdict({"ring": [box(score=score)]}, count_of(1)) == (score > 0.9)


@pytest.mark.parametrize("seen", [1, 2, 3, 4])
def test_counting_is_exact(seen):
    assert verdict({"ring": [box(20 * i) for i in range(seen)]}, count_of(3)) == (seen == 3)


def test_uncertain_objects_do_not_spoil_a_count():
    boxes = [box(), box(20), box(40, score=0.85)]
    assert verdict({"ring": boxes}, count_of(2))
    assert not verdict({"ring": boxes}, count_of(3))


def test_at_most_sixteen_objects_count():
    boxes = [box(20 * i) for i in range(MAX_OBJECTS + 1)]
    assert verdict({"ring": boxes}, count_of(16))
    assert not verdict({"ring": boxes}, count_of(17))


def test_more_than_asked_for_is_fine_without_exclude():
    assert verdict({"ring": [box(), box(20)]}, wants({"class": "ring", "count": 1}))


def test_colour_looks_at_the_most_confident_only():
    boxes = [box(0, score=0.5), box(20, score=0.9)]
    metadata = wants({"class": "ring", "count": 1, "color": "red"}, tag="colors")
    colors = {(0.0, 0.0, 10.0, 10.0): "red", (20.0, 0.0, 30.0, 10.0): "blue"}
    assert not verdict({"ring": boxes}, metadata, lambda name, where: colors[where])
    assert verdict({"ring": boxes[:1]}, metadata, lambda name, where: colors[where])


def test_each_box_is_classified_once():
    asked = []

    def classify(name, where):
        asked.append((name, where))
        return "red"

    group = {"class": "ring", "count": 2, "color": "red"}
    assert verdict({"ring": [box(), box(20)]}, wants(group, group), classify)
    assert len(asked) == len(set(asked)) == 2


def test_the_right_colours_on_the_wrong_things_are_wrong():
    metadata = wants(
        {"class": "ring", "count": 1, "color": "red"},
        {"class": "bar", "count": 1, "color": "blue"},
        tag="color_attr",
    )
    detections = {"ring": [box()], "bar": [box(20)]}
    right, swapped = {"ring": "red", "bar": "blue"}, {"ring": "blue", "bar": "red"}
    assert verdict(detections, metadata, lambda name, where: right[name])
    assert not verdict(detections, metadata, lambda name, where: swapped[name])


def position(relation):
    return wants(
        {"class": "bar", "count": 1},
        {"class": "ring", "count": 1, "position": [relation, 0]},
        tag="position",
    )


@pytest.mark.parametrize(
    ("x", "y", "relations"),
    [
        (-30, 0, {"left of"}),
        (30, 0, {"right of"}),
        (0, -30, {"above"}),  # y grows downwards
        (0, 30, {"below"}),
        (30, 30, {"right of", "below"}),  # both hold on a diagonal
        (30, 10, {"right of"}),
        (1, 1, set()),  # within the slack of 0.1 · (10 + 10)
        (2, 0, set()),
        (0, 0, set()),
        (-3.9, 0, set()),  # (3.9 − 2) / 3.9 < 1/2: the offset is not shrunk in the denominator
        (-4.1, 0, {"left of"}),
    ],
)
def test_relations(x, y, relations):
    ring, bar = box(x, y)[:4], box()[:4]
    assert relative_position(ring, bar) == relations
    for name in ("left of", "right of", "above", "below"):
        assert verdict({"ring": [box(x, y)], "bar": [box()]}, position(name)) == (name in relations)


def test_sizes_of_each_axis_count():
    wide, flat = (0.0, 0.0, 100.0, 4.0), (60.0, 20.0, 160.0, 24.0)
    # o = (60, 20); r = (60 − 20, 20 − 0.8); r/|o| = (0.63, 0.30)
    assert relative_position(flat, wide) == {"right of"}


def test_every_pair_with_the_target_must_hold():
    metadata = wants(
        {"class": "bar", "count": 2}, {"class": "ring", "count": 1, "position": ["left of", 0]}
    )
    assert verdict({"ring": [box(0)], "bar": [box(30), box(60)]}, metadata)
    assert not verdict({"ring": [box(30)], "bar": [box(0), box(60)]}, metadata)


def test_a_target_that_fails_fails_what_stands_on_it():
    metadata = wants(
        {"class": "bar", "count": 1, "color": "red"},
        {"class": "ring", "count": 1, "position": ["left of", 0]},
    )
    correct, reason = score_image(
        {"ring": [box()], "bar": [box(30)]}, metadata, classify_color=lambda name, where: "blue"
    )
    assert not correct
    assert reason == "expected red bar, saw blue; nothing for ring to be left of"


def test_an_empty_picture_is_never_correct():
    for tag in TAGS:
        assert not verdict({}, wants({"class": "ring", "count": 1}, tag=tag))


# --- what must not matter -----------------------------------------------------------------------

CLASSES = ("ring", "bar", "moon")
COLORS = ("red", "blue")
spot = st.integers(0, 8).map(float)
detection = st.tuples(spot, spot, st.sampled_from([0.2, 0.5, 0.92, 0.97])).map(
    lambda row: box(row[0] * 5, row[1] * 5, score=row[2])
)
detections_of = st.dictionaries(st.sampled_from(CLASSES), st.lists(detection, max_size=5))
include_of = st.fixed_dictionaries(
    {"class": st.sampled_from(CLASSES), "count": st.integers(1, 3)},
    optional={"color": st.sampled_from(COLORS)},
)


@st.composite
def questions(draw):
    include = draw(st.lists(include_of, min_size=1, max_size=2))
    if len(include) == 2 and draw(st.booleans()):
        relation = draw(st.sampled_from(["left of", "right of", "above", "below"]))
        include[1] = {**include[1], "position": [relation, 0]}
    exclude = draw(st.lists(include_of.map(lambda row: {**row, "count": 3}), max_size=1))
    return wants(*include, tag=draw(st.sampled_from(TAGS)), exclude=exclude)


def color_by_place(name, where):
    return COLORS[int(where[0] + where[1]) % 2]


@given(detections_of, questions(), st.randoms(use_true_random=False))
def test_the_order_of_detections_is_irrelevant(detections, metadata, random):
    shuffled = {name: random.sample(boxes, len(boxes)) for name, boxes in detections.items()}
    shuffled = dict(random.sample(list(shuffled.items()), len(shuffled)))
    one = score_image(detections, metadata, classify_color=color_by_place)
    assert one == score_image(shuffled, metadata, classify_color=color_by_place)


@given(detections_of, questions(), st.lists(detection, min_size=1, max_size=9))
def test_other_classes_are_irrelevant(detections, metadata, others):
    one = score_image(detections, metadata, classify_color=color_by_place)
    crowded = {**detections, "zebra": others}
    assert one == score_image(crowded, metadata, classify_color=color_by_place)


@given(detections_of, questions(), st.lists(detection, max_size=3))
def test_objects_below_the_threshold_are_irrelevant(detections, metadata, extra):
    faint = [(*row[:4], 0.3) for row in extra]
    one = score_image(detections, metadata, classify_color=color_by_place)
    noisy = {name: [*detections.get(name, []), *faint] for name in CLASSES}
    assert one == score_image(noisy, metadata, classify_color=color_by_place)


@given(detections_of, questions())
def test_a_reason_is_given_exactly_for_what_is_wrong(detections, metadata):
    correct, reason = score_image(detections, metadata, classify_color=color_by_place)
    assert correct == (reason == "")
