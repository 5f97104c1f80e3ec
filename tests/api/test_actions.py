"""Actions as text: one text a motion, one motion a text."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimm_eval.api.actions import WASD, Motion, action_text, command_text, parse_action

REACH = st.floats(-500, 500)
TURN = st.floats(-math.pi, math.pi)


@given(REACH, REACH, TURN)
def test_a_motion_is_read_back_to_the_hundredth_and_written_the_same_again(dx, dy, dyaw):
    text = action_text(Motion(dx=dx, dy=dy, dyaw=dyaw))
    read = parse_action(text)
    assert read is not None
    assert abs(read.dx - dx) <= 0.005 + 1e-9
    assert abs(read.dy - dy) <= 0.005 + 1e-9
    turned_less = (read.dyaw - dyaw + math.pi) % (2 * math.pi) - math.pi
    assert abs(turned_less) <= 0.005 + 1e-9
    assert action_text(read) == text


@given(st.text(alphabet="+-0123456789. ", max_size=14))
def test_text_that_is_read_is_the_only_text_of_its_motion(text):
    motion = parse_action(text)
    assert motion is None or action_text(motion) == text


@given(st.integers(-3, 3), TURN)
def test_a_turn_of_whole_circles_more_is_the_same_turn(circles, dyaw):
    turned = parse_action(action_text(Motion(dyaw=dyaw + 2 * math.pi * circles)))
    once = parse_action(action_text(Motion(dyaw=dyaw)))
    apart = abs(turned.dyaw - once.dyaw)
    assert min(apart, 2 * math.pi - apart) <= 0.0101


def test_texts():
    assert action_text(Motion(dx=0.5)) == "+050+000+000"
    assert action_text(Motion(dx=-0.001, dyaw=-math.pi / 4)) == "+000+000-079"
    assert action_text(Motion(dx=57.25, dy=-10, dyaw=3 * math.pi)) == "+5725-1000-314"
    for text in ("", "+050+000", "+50+00+00", "+0050+000+000", "-000+000+000", "+000+000+315",
                 "+050+000+000 ", "go forward", "+٠٥٠+000+000"):  # fmt: skip
        assert parse_action(text) is None
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            action_text(Motion(dy=value))


def test_keys_are_the_motions_of_the_paper_and_other_words_stay():
    motions = {key: parse_action(command_text(key)) for key in "WASD"}
    assert motions == WASD
    assert WASD["W"] == Motion(dx=0.5)
    assert WASD["S"] == Motion(dx=-0.5)
    assert WASD["A"] == Motion(dx=0.2, dyaw=0.5)
    assert WASD["D"] == Motion(dx=0.2, dyaw=-0.5)
    assert command_text("w") == command_text(" W ")
    assert command_text("get out of the shadow!") == "get out of the shadow!"
    with pytest.raises(ValueError, match="no words"):
        command_text("  ")


def test_every_character_of_an_action_is_a_token_of_the_demo():
    from unimm_eval.model.tokenizer import Tokenizer

    demo = Path(__file__).parents[2] / "model" / "demo" / "tokenizer.json"
    assert len(Tokenizer.load(demo).encode("+050-123+009")) == 12
