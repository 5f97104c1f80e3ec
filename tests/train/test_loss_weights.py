"""Loss weights against eq. 3 and eq. 5–6 by hand."""

import pytest
from small_recipe import saved, small_recipe

from unimm_eval.train.log import read_log
from unimm_eval.train.loss_weights import CenteredWeights, FixedWeights, loss_weights
from unimm_eval.train.pretrain import Pretraining

STAGE = small_recipe().stages[0]
LOSSES = [(6.0, 1.0), (5.0, 0.8), (4.5, 0.5), (4.4, 0.9)]


def test_the_default_is_one_and_three():
    weights = loss_weights(small_recipe())
    assert isinstance(weights, FixedWeights)
    assert weights.step(text=5.0, flow=0.1, stage=STAGE) == (1.0, 3.0)
    assert weights.state() == {}


def test_a_stage_may_weigh_flow_by_itself():
    weights = loss_weights(small_recipe())
    later = STAGE.model_copy(update={"flow_weight": 10.0})
    assert weights.step(text=5.0, flow=0.1, stage=later) == (1.0, 10.0)
    stage = {"from_step": 0, "mixture": {"text": 1.0}, "flow_weight": 10.0}
    with pytest.raises(ValueError, match="centering"):
        small_recipe(stages=[stage], centering={"alpha": 0.5})


@pytest.mark.parametrize(("alpha", "momentum"), [(0.5, 0.9), (0.0, 0.99), (1.0, 0.0)])
def test_weights_are_the_running_centre_over_each_loss(alpha, momentum):
    weights = loss_weights(small_recipe(centering={"alpha": alpha, "momentum": momentum}))
    centre = None
    for text, flow in LOSSES:
        current = alpha * flow + (1 - alpha) * text
        centre = current if centre is None else momentum * centre + (1 - momentum) * current
        w_text, w_flow = weights.step(text=text, flow=flow, stage=STAGE)
        assert (w_text, w_flow) == (centre / text, centre / flow)
        assert w_text * text == pytest.approx(w_flow * flow)


@pytest.mark.parametrize(
    ("batch", "expected"), [((5.0, 0.0), (1, 0)), ((0.0, 0.7), (0, 1)), ((0.0, 0.0), (0, 0))]
)
def test_a_batch_without_a_modality_leaves_the_centre_alone(batch, expected):
    """Its loss has weight 0; the other is still brought to the centre, or counts once before there
    is one."""
    text, flow = batch
    begun, fresh = (CenteredWeights(alpha=0.3, momentum=0.9) for _ in range(2))
    begun.step(text=6.0, flow=1.0, stage=STAGE)
    before = begun.centre
    assert before == pytest.approx(0.3 * 1.0 + 0.7 * 6.0)
    w_text, w_flow = begun.step(text=text, flow=flow, stage=STAGE)
    assert (w_text * text, w_flow * flow) == pytest.approx(tuple(before * e for e in expected))
    assert begun.centre == before
    assert fresh.step(text=text, flow=flow, stage=STAGE) == pytest.approx(expected)
    assert fresh.centre is None
    assert fresh.state() == {}


def test_a_saved_centre_goes_on_exactly():
    first = CenteredWeights(alpha=0.3, momentum=0.9)
    for text, flow in LOSSES[:2]:
        first.step(text=text, flow=flow, stage=STAGE)
    second = CenteredWeights(alpha=0.3, momentum=0.9)
    second.load_state(first.state())
    for text, flow in LOSSES[2:]:
        assert second.step(text=text, flow=flow, stage=STAGE) == first.step(
            text=text, flow=flow, stage=STAGE
        )


def test_a_centred_run_is_logged_and_resumes_exactly(tmp_path):
    recipe = small_recipe(centering={"alpha": 0.3, "momentum": 0.8}, steps=6)
    Pretraining(recipe, tmp_path / "unstopped", workers=0).run()
    Pretraining(recipe, tmp_path / "stopped", workers=0).run(until=2)
    Pretraining(recipe, tmp_path / "stopped", workers=0).run()
    one, two = (saved(tmp_path / name, 6) for name in ("unstopped", "stopped"))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    centre = None
    for entry in read_log(tmp_path / "stopped"):
        current = 0.3 * entry["flow_loss"] + 0.7 * entry["text_loss"]
        centre = current if centre is None else 0.8 * centre + 0.2 * current
        assert entry["text_weight"] == pytest.approx(centre / entry["text_loss"])
        assert entry["flow_weight"] == pytest.approx(centre / entry["flow_loss"])


def test_a_centred_run_survives_batches_without_pictures(tmp_path):
    stages = (
        {"from_step": 0, "mixture": {"text": 1.0}},
        {"from_step": 2, "mixture": {"text": 0.3, "text_to_image": 0.7}},
        {"from_step": 4, "mixture": {"text": 1.0}},
    )
    recipe = small_recipe(centering={}, stages=stages, steps=6)
    Pretraining(recipe, tmp_path, workers=0).run()
    entries = read_log(tmp_path)
    assert [entry["text_weight"] for entry in entries[:2]] == [1.0, 1.0]
    assert [entry["flow_weight"] > 0 for entry in entries] == [False] * 2 + [True] * 2 + [False] * 2
    centre = [entry["text_weight"] * entry["text_loss"] for entry in entries[3:]]
    assert centre == pytest.approx([centre[0]] * 3)
