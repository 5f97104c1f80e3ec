"""Laws that are known come out of runs, with intervals that hold them as often as they say."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scaling_points import LANGUAGE, VISION, rows, write

from unimm_eval.api import UserError
from unimm_eval.scaling import read_points, study
from unimm_eval.scaling.frontier import fit_frontier
from unimm_eval.scaling.study import BASE_SIZE, Quantity


def fitted(path, made, **settings):
    return study(read_points(write(path / "runs.csv", made)), resamples=50, **settings)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize(
    ("sizes", "span"), [(5, 6.0), (7, 8.0), (9, 16.0), (21, 100.0)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("law", [LANGUAGE, VISION], ids=["language", "vision"])
def test_exponents_of_an_additive_law_come_out_within_one_percent(
    tmp_path, law, sizes, span, jitter
):
    made = rows(law, sizes=sizes, span=span, jitter=jitter)
    (found,) = fitted(tmp_path, made).laws
    assert found.a_R[0] == pytest.approx(law.exponents["a"], rel=0.01)
    assert found.b_R[0] == pytest.approx(law.exponents["b"], rel=0.01)
    # The frontier identity: α_C = αβ/(α+β), and the same E.
    assert found.frontier.alpha_R[0] == pytest.approx(law.exponents["alpha"], rel=0.01)
    assert found.frontier.e_R[0] == pytest.approx(law.e, rel=0.01)
    assert found.a_R + found.b_R == pytest.approx(1.0)
    for index, curve in enumerate(found.curves):
        best = law.best_size(curve.flops)
        # The curve is steeper on one side: a parabola puts all its vertices a little to the other.
        assert math.exp(found.log_size_RB[0, index]) == pytest.approx(best, rel=0.07)
        least = law.loss(best, curve.flops / 6 / best)
        assert found.loss_RB[0, index] == pytest.approx(least, rel=0.005)


def test_the_frontier_of_a_known_law_comes_out_exactly():
    flops = np.geomspace(1e18, 1e21, 7)
    for a, alpha, e in ((1085.0, 0.159, 1.69), (40.0, 0.3, 0.0), (1e6, 0.4, 3.0)):
        fit = fit_frontier(flops, (a * flops**-alpha + e)[None])
        assert fit.alpha_R[0] == pytest.approx(alpha, rel=1e-4)
        assert np.exp(fit.log_a_R[0]) == pytest.approx(a, rel=5e-3)
        assert fit.e_R[0] == pytest.approx(e, rel=1e-4, abs=1e-4)


def test_the_error_that_counts_is_that_of_the_logarithm_of_the_loss():
    flops = np.geomspace(1e18, 1e21, 6)
    rng = np.random.default_rng(3)
    loss = (1085 * flops**-0.159 + 1.69) * (1 + 0.004 * rng.standard_normal(6))
    fit = fit_frontier(flops, loss[None])

    def error(e):
        slope, intercept = np.polyfit(np.log(flops), np.log(loss - e), 1)
        made = np.exp(intercept) * flops**slope + e
        return np.square(np.log(made) - np.log(loss)).mean()

    grid = np.linspace(0, loss.min(), 4001)[:-1]
    assert error(fit.e_R[0]) <= min(map(error, grid)) * (1 + 1e-6)


@pytest.mark.parametrize("settings", [(4, 6, 6.0), (6, 7, 8.0)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(tmp_path, settings):
    budgets, sizes, span = settings
    hits = dict.fromkeys(("a", "b", "alpha", "e"), 0)
    trials = 60
    for seed in range(trials):
        made = rows(
            LANGUAGE, budgets=budgets, sizes=sizes, span=span, noise=0.002, jitter=0.3, seed=seed
        )
        points = read_points(write(tmp_path / "runs.csv", made))
        (law,) = study(points, resamples=200, seed=seed).laws
        truth = {**LANGUAGE.exponents, "e": LANGUAGE.e}
        drawn = {"a": law.a_R, "b": law.b_R, "alpha": law.frontier.alpha_R, "e": law.frontier.e_R}
        for name, values in drawn.items():
            low, high = Quantity.of(values).interval
            hits[name] += low <= truth[name] <= high
    # 95% of 60 are 57; fewer than 51 would be chance once in 200 such tests.
    assert all(count >= 51 for count in hits.values()), hits


def test_more_noise_makes_wider_intervals(tmp_path):
    def width(noise):
        (law,) = fitted(tmp_path, rows(LANGUAGE, noise=noise)).laws
        low, high = Quantity.of(law.a_R).interval
        return high - low

    assert width(0.001) < width(0.004)
    assert fitted(tmp_path, rows(LANGUAGE, noise=0.002)).to_json() == (
        fitted(tmp_path, rows(LANGUAGE, noise=0.002)).to_json()
    )


def both(noise=0.0):
    """The two modalities of a dense model and of a mixture with 16 times as many parameters."""
    moe = {"arch": "moe", "experts": 16.0}
    language, vision = replace(LANGUAGE, alpha=0.36, beta=0.25), replace(VISION, beta=0.25)
    return [
        *rows(LANGUAGE, modality="text", arch="dense", noise=noise),
        *rows(VISION, modality="image", arch="dense", noise=noise),
        *rows(language, modality="language", noise=noise, **moe),
        *rows(vision, modality="vision", noise=noise, **moe),
    ], {"dense": (LANGUAGE, VISION), "moe": (language, vision)}


def test_vision_is_set_beside_language_for_each_architecture(tmp_path):
    made, laws = both()
    found = fitted(tmp_path, made)
    assert [(law.arch, law.modality) for law in found.laws] == [
        ("dense", "language"), ("dense", "vision"), ("moe", "language"), ("moe", "vision")
    ]  # fmt: skip
    for entry in found.asymmetries:
        language, vision = (law.exponents for law in laws[entry.arch])
        assert entry.gap.value == pytest.approx(language["a"] - vision["a"], rel=0.02)
        ratio = vision["b"] / vision["a"] - language["b"] / language["a"]
        assert entry.ratio_exponent.value == pytest.approx(ratio, rel=0.02)
        for size, growth in entry.growth.items():
            assert growth.value == pytest.approx((size / BASE_SIZE) ** ratio, rel=0.1)


def test_the_papers_growth_follows_from_its_exponents():
    """N^0.57: ×14 at 100 B and ×51 at 1 T from 0.47/0.53 and 0.37/0.63 (paper §7)."""
    from unimm_eval.scaling.study import LARGER_SIZES

    ratio = 0.63 / 0.37 - 0.53 / 0.47
    assert ratio == pytest.approx(0.57, abs=0.01)
    assert [round((size / BASE_SIZE) ** 0.57) for size in LARGER_SIZES] == [14, 51]


def test_size_is_what_is_active(tmp_path):
    made, _ = both()
    dense = [{**row, "params": row["active_params"]} for row in made]
    assert fitted(tmp_path, made).to_json() == fitted(tmp_path, dense).to_json()


# --- what cannot be used


def refused(tmp_path, made):
    with pytest.raises(UserError) as caught:
        fitted(tmp_path, made)
    return str(caught.value)


@pytest.mark.parametrize("column", ["flops", "params", "tokens", "loss"])
def test_a_column_that_is_missing_is_named(tmp_path, column):
    made = [{k: v for k, v in row.items() if k != column} for row in rows(LANGUAGE)]
    assert f"runs.csv has no column {column}" in refused(tmp_path, made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "three"}, "loss is 'three', not a number"),
        ({"loss": "-1.5"}, "loss is -1.5, but must be above 0"),
        ({"loss": "nan"}, "loss is nan, but must be above 0 and finite"),
        ({"flops": "inf"}, "flops is inf, but must be above 0 and finite"),
        ({"tokens": ""}, "tokens is '', not a number"),
        ({"params": "0"}, "params is 0, but must be above 0"),
        ({"active_params": "9e30"}, "are more than params"),
        ({"active_params": "", "arch": "MoE"}, "active_params is missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, changes, said):
    made = [{"arch": "", **row} for row in rows(LANGUAGE)]
    made[8] |= changes
    message = refused(tmp_path, made)
    assert message.startswith("runs.csv line 10: ")
    assert said in message


def test_every_bad_row_is_named_and_only_some_are_told(tmp_path):
    made = rows(LANGUAGE)
    for row in made[:20]:
        row["loss"] = "?"
    message = refused(tmp_path, made)
    assert "runs.csv line 2:" in message
    assert "… and 12 other lines." in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column flops, params, tokens, loss"),
        ("flops,params,tokens,loss\n", "has no rows"),
        ("flops,params,tokens,loss\n1,2,3\n", "line 2: not as many fields"),
        ("flops,params,tokens,loss\n1,2,3,4,5\n", "line 2: not as many fields"),
        ("flops,params,tokens,loss,loss\n1,2,3,4,5\n", "the column loss twice"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, said):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_points(tmp_path / "runs.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_points(tmp_path / "gone.csv")


def test_too_few_runs_of_a_budget_are_named(tmp_path):
    made = rows(LANGUAGE)
    made[7:14] = made[7:10]
    message = refused(tmp_path, made)
    assert "3 sizes of model, but a parabola needs 4" in message
    assert "runs.csv line 9; runs.csv line 10; runs.csv line 11" in message
    assert "2 budgets of compute, but a power law needs 3" in refused(
        tmp_path, rows(LANGUAGE, budgets=2)
    )


@pytest.mark.parametrize(("kept", "side"), [(slice(0, 4), "largest"), (slice(5, 9), "smallest")])
def test_a_lowest_point_outside_the_sizes_that_were_tried_is_named(tmp_path, kept, side):
    made = rows(LANGUAGE, sizes=9, span=30.0)
    made[9:18] = made[9:18][kept]
    message = refused(tmp_path, made)
    assert f"is beyond the {side} model that was tried" in message
    assert "runs.csv line 11" in message


def test_losses_without_a_lowest_point_are_named(tmp_path):
    made = rows(LANGUAGE)
    for row in made[7:14]:
        row["loss"] = repr(6 - float(row["loss"]))
    message = refused(tmp_path, made)
    assert "language" not in message
    assert "no lowest point" in message or "beyond the" in message
    assert "runs.csv line 9" in message


def test_columns_that_are_not_used_are_said(tmp_path):
    made = [{**row, "seed": "1", "modalty": "image"} for row in rows(LANGUAGE)]
    assert fitted(tmp_path, made).unused == ("seed", "modalty")


def test_budgets_are_told_apart_by_more_than_rounding(tmp_path):
    made = rows(LANGUAGE)
    rng = np.random.default_rng(0)
    for row in made:
        row["flops"] = repr(float(row["flops"]) * rng.uniform(0.99, 1.01))
    (law,) = fitted(tmp_path, made).laws
    assert len(law.curves) == 6
    assert law.a_R[0] == pytest.approx(LANGUAGE.exponents["a"], rel=0.01)


def test_everything_is_json(tmp_path):
    made, _ = both(noise=0.002)
    document = json.loads(json.dumps(fitted(tmp_path, made).to_json(), allow_nan=False))
    law = document["laws"][0]
    for name in ("a", "b", "alpha", "A", "E"):
        assert law[name]["interval"][0] <= law[name]["value"] <= law[name]["interval"][1]
    assert {entry["arch"] for entry in document["vision_beside_language"]} == {"dense", "moe"}
