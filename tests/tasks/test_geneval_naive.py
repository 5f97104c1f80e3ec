"""score_image against the published rules written down a second time, as numpy arrays."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_geneval_rules import COLORS, box, color_by_place, detections_of, questions, wants

from unimm_eval.tasks.geneval import score_image
from unimm_eval.tasks.geneval.rules import boxes_to_color

MANY = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([0.3, 0.31, 0.5, 0.9, 0.91])), max_size=40
)


def relations(a, b):
    boxes = np.array([a[:4], b[:4]]).reshape(2, 2, 2)
    (centre_a, centre_b), (size_a, size_b) = boxes.mean(1), np.ptp(boxes, axis=1)
    offset = centre_a - centre_b
    shrunk = np.sign(offset) * np.maximum(np.abs(offset) - 0.1 * (size_a + size_b), 0)
    if (np.abs(shrunk) < 1e-3).all():
        return []
    x, y = shrunk / np.linalg.norm(offset)
    named = [("left of", -x), ("right of", x), ("above", -y), ("below", y)]
    return [name for name, value in named if value > 0.5]


def naive(detections, metadata, color_of):
    """Threshold, at most sixteen, then every clause of the metadata in turn."""
    least = 0.9 if metadata["tag"] == "counting" else 0.3
    objects = {}
    for name, rows in detections.items():
        array = np.array(sorted(rows), dtype=float).reshape(-1, 5)
        array = array[np.argsort(-array[:, 4], kind="stable")]
        objects[name] = array[array[:, 4] > least][:16]
    good, groups = True, []
    for clause in metadata["include"]:
        mine = objects.get(clause["class"], np.zeros((0, 5)))[: clause["count"]]
        ok = len(mine) == clause["count"]
        if ok and "color" in clause:
            seen = Counter(color_of(clause["class"], tuple(row[:4])) for row in mine)
            ok = seen[clause["color"]] >= clause["count"]
        if ok and "position" in clause:
            relation, target = clause["position"]
            ok = groups[target] is not None and all(
                relation in relations(one, other) for one in mine for other in groups[target]
            )
        groups.append(mine if ok else None)
        good &= ok
    for clause in metadata["exclude"]:
        good &= len(objects.get(clause["class"], ())) < clause["count"]
    return bool(good)


@given(detections_of, questions())
def test_the_rules_written_twice_agree(detections, metadata):
    ours, _ = score_image(detections, metadata, classify_color=color_by_place)
    assert ours == naive(detections, metadata, color_by_place)


@given(MANY, st.integers(1, 18), st.sampled_from(["counting", "two_object"]))
def test_thresholds_and_the_top_sixteen_agree(rows, count, tag):
    detections = {"ring": [box(20 * x, score=score) for x, score in rows]}
    exclude = [{"class": "ring", "count": count + 1}]
    metadata = wants({"class": "ring", "count": count}, tag=tag, exclude=exclude)
    ours, _ = score_image(detections, metadata, classify_color=color_by_place)
    assert ours == naive(detections, metadata, color_by_place)


@given(detections_of, questions())
def test_a_box_is_asked_once_and_only_what_was_foretold(detections, metadata):
    asked = []

    def color(name, where):
        asked.append((name, where))
        return COLORS[0]

    score_image(detections, metadata, classify_color=color)
    assert len(asked) == len(set(asked))
    assert set(asked) == set(boxes_to_color(detections, metadata))


@given(detections_of, questions())
def test_rows_may_be_lists(detections, metadata):
    lists = {name: [list(row) for row in rows] for name, rows in detections.items()}
    one = score_image(detections, metadata, classify_color=color_by_place)
    assert one == score_image(lists, metadata, classify_color=color_by_place)
