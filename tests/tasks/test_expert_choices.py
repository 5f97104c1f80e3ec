"""`experts`: every statistic on routing whose numbers are known, and what is refused."""

import csv
import io
import json

import numpy as np
import pytest
from task_runs import run_task

from unimm_eval import stats
from unimm_eval.api import Picture, RoutingCounts, UserError, encode_png
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.tasks.experts.resampling import Routed
from unimm_eval.tasks.experts.routing import pack, unpack
from unimm_eval.tasks.experts.statistics import (
    CLASSES,
    Choices,
    classes,
    entropy,
    load,
    measures,
    pearson,
    rates,
    specialization,
    time_variation,
)

MODALITIES, PURPOSES = ("text", "image"), ("text", "generation", "understanding")


class Router:
    """Sends each kind of token to experts by `choose(purpose, u) -> {expert: choices}`, the same
    in every layer. A text has as many tokens as words, a picture eight."""

    name, fingerprint = "router", "0" * 16

    def __init__(self, choose, *, layers=2, experts=4, top_k=2, twin=None):
        self.choose, self.layers, self.experts, self.top_k = choose, layers, experts, top_k
        self.untrained = twin
        self.seen = []

    def describe(self):
        return {}

    def flow_losses(self, requests):
        raise AssertionError("not asked for")

    def twin(self):
        return self.untrained or self

    def routing(self, requests):
        self.seen += requests
        return [self._counts(request) for request in requests]

    def _counts(self, request):
        shape = (self.layers, self.experts, 2, 10, 3)
        counts = np.zeros(shape, dtype=np.int64)
        if hasattr(request, "text"):
            cell, tokens = (0, 0, 0), len(request.text.split())
            chosen = self.choose("text", None)
        else:
            noisy = hasattr(request, "u")
            cell = (1, int(request.u * 10), 1) if noisy else (1, 9, 2)
            tokens = 8
            chosen = self.choose(*(("generation", request.u) if noisy else ("understanding", 1)))
        for expert, times in chosen.items():
            counts[(slice(None), expert, *cell)] = times * tokens
        return RoutingCounts(
            counts=counts, top_k=self.top_k, modalities=MODALITIES, purposes=PURPOSES
        )


def forced(purpose, u):
    """Text to experts 0 and 1, pictures to 2 and 3."""
    return {0: 1, 1: 1} if purpose == "text" else {2: 1, 3: 1}


def even(purpose, u):
    return {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5}


# --- formulas -------------------------------------------------------------------------------------


def test_rates_and_specialization_are_the_papers():
    """R = C/(N·k) and S = (R_text − R_image)/(R_text + R_image): 10 text tokens and 20 of pictures,
    two experts each."""
    text = np.array([12, 6, 2, 0, 0])
    image = np.array([4, 6, 10, 20, 0])
    assert rates(text).tolist() == [0.6, 0.3, 0.1, 0, 0]
    assert rates(image).tolist() == [0.1, 0.15, 0.25, 0.5, 0]
    score = specialization(text, image)
    assert score[:4] == pytest.approx([0.5 / 0.7, 0.15 / 0.45, -0.15 / 0.35, -1])
    assert np.isnan(score[4])
    assert [CLASSES[kind] for kind in classes(score)] == [
        "text",
        "multimodal",
        "multimodal",
        "vision",
        "dead",
    ]


def test_three_times_the_rate_is_still_multimodal():
    """S > 0.5 is more than three times the other's rate; exactly three times is not."""
    assert [CLASSES[kind] for kind in classes(np.array([0.5, -0.5, 0.500001, -0.500001]))] == [
        "multimodal",
        "multimodal",
        "text",
        "vision",
    ]


def test_time_variation_is_standard_deviation_over_mean():
    """Of rates: a bin with more tokens weighs no more."""
    by_time = np.array([[1, 30], [3, 10]])  # experts × times; shares 1/4, 3/4 and 3/4, 1/4
    assert time_variation(by_time) == pytest.approx([0.5, 0.5])
    steady = np.array([[1, 2, 3], [1, 2, 3]])
    assert time_variation(steady) == pytest.approx([0, 0])


def test_entropy_and_load():
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(1)
    assert entropy(np.array([1.0, 0, 0, 0])) == 0
    assert entropy(np.array([0.5, 0.5, 0, 0])) == pytest.approx(0.5)
    choices = Choices(text=np.array([[8, 0]]), noisy=np.array([[[1, 1], [3, 3]]]), clean=None)
    assert load(choices).tolist() == [[(1 + 0.25) / 2, 0.75 / 2]]  # whatever the tokens of each


def test_pearson():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 16))
    for mine, a, b in zip(pearson(x, y), x, y, strict=True):
        assert mine == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert np.isnan(pearson(np.full(4, 0.25), np.arange(4.0)))


def test_every_measure_of_hand_made_routing():
    """Two layers of four experts, ten choices of text and ten of pictures a layer."""
    text = np.array([[10, 0, 0, 0], [4, 3, 3, 0]])
    image = np.array([[0, 5, 5, 0], [3, 3, 2, 2]])
    noisy = np.stack([image, image], axis=-1)
    clean = np.array([[0, 4, 6, 0], [3, 3, 2, 2]])
    found = measures(Choices(text=text, noisy=noisy, clean=clean))
    score = [1, 1, 1, 1 / 7, 0, 0.2, 1]  # |S| of the seven that are alive
    assert found["specialization"] == pytest.approx(np.mean(score))
    assert found["text_experts"] == 1 / 8
    assert found["vision_experts"] == 3 / 8
    assert found["multimodal_experts"] == 3 / 8
    assert found["dead_experts"] == 1 / 8
    share = np.array([[0.5, 0.25, 0.25, 0], [0.35, 0.3, 0.25, 0.1]])
    logs = -(share * np.log(np.where(share > 0, share, 1))).sum(1) / np.log(4)
    assert found["entropy"] == pytest.approx(logs.mean())
    assert found["max_load"] == pytest.approx((0.5 + 0.35) / 2 * 4)
    assert found["timestep_cv"] == pytest.approx(0)
    r = np.corrcoef([0, 5, 5, 0], [0, 4, 6, 0])[0, 1]
    assert found["generation_understanding"] == pytest.approx((r + 1) / 2)


def test_resamples_are_measured_like_the_whole():
    """A draw that takes everything once has the numbers of everything; draws of a model and of its
    twin take the same documents and pictures."""
    rng = np.random.default_rng(0)
    routed = Routed(text=rng.integers(1, 9, (5, 2, 4)), pictures=rng.integers(1, 9, (3, 2, 4, 11)))
    (drawn,) = routed.drawn(resamples=200)
    (again,) = routed.drawn(resamples=200)
    assert np.array_equal(drawn.text, again.text)
    means = drawn.text.mean(axis=0), drawn.noisy.mean(axis=0)
    assert means[0] == pytest.approx(routed.whole().text, rel=0.1)
    assert means[1] == pytest.approx(routed.whole().noisy, rel=0.15)
    one = measures(Choices(text=drawn.text[7], noisy=drawn.noisy[7], clean=drawn.clean[7]))
    for name, values in measures(drawn).items():
        assert values[7] == pytest.approx(one[name], nan_ok=True)


def test_counts_survive_the_store():
    counts = np.random.default_rng(0).integers(0, 70_000, (3, 5, 11))
    assert np.array_equal(unpack(json.loads(json.dumps(pack(counts)))), counts)


# --- the task -------------------------------------------------------------------------------------


@pytest.fixture
def run(make_task, context):
    def go(router, **settings):
        task = make_task(
            "experts:mini", documents=6, pictures=5, bootstrap_resamples=40, **settings
        )
        return run_task(task, router, context)

    return go


def test_a_router_forced_by_modality_has_no_multimodal_experts(run):
    """All experts classify as text or vision, with certainty, against a twin that is even."""
    found = run(Router(forced, twin=Router(even))).metrics
    assert found["text_experts"].value == found["vision_experts"].value == 0.5
    assert found["multimodal_experts"].value == found["dead_experts"].value == 0
    assert found["specialization"].value == found["specialization_over_twin"].value == 1
    assert found["specialization"].chance == 0
    assert found["specialization_over_twin"].interval == (1, 1)
    assert found["specialization"].facts["class_kept_when_resampled"] == 1
    assert found["text_experts"].facts["by_layer"] == [2, 2]
    assert found["entropy"].value == pytest.approx(1)
    assert found["timestep_cv"].value == 0


def test_an_untrained_model_is_its_own_chance(run):
    found = run(Router(forced)).metrics
    for metric in found.values():
        assert metric.chance == pytest.approx(metric.value) or metric.name.endswith("over_twin")
        assert metric.interval[0] <= metric.value <= metric.interval[1]
    over = found["specialization_over_twin"]
    assert (over.value, over.chance, over.interval) == (0, 0, (0, 0))


def test_experts_of_some_times_are_seen(run):
    """Expert 2 for the first half of the schedule, 3 for the second: rates 1/2 and 0, so that the
    standard deviation is the mean."""

    def halves(purpose, u):
        if purpose == "generation":
            return {2 if u < 0.5 else 3: 1, 1: 1}
        return {0: 1, 1: 1} if purpose == "text" else {2: 1, 3: 1}

    found = run(Router(halves)).metrics
    assert found["vision_experts"].value == 0.5
    assert found["timestep_cv"].value == pytest.approx(1)
    assert found["timestep_cv"].facts["if_time_did_not_matter"] < 1
    generation, understanding = [0, 0.5, 0.25, 0.25], [0, 0, 0.5, 0.5]
    r = np.corrcoef(generation, understanding)[0, 1]
    assert found["generation_understanding"].value == pytest.approx(r)
    assert [row["r"] for row in found["generation_understanding"].facts["by_layer"]] == (
        pytest.approx([r, r])
    )


def test_each_picture_is_shown_at_ten_times_and_clean(run):
    router = Router(forced)
    run(router)
    noisy = [request for request in router.seen if hasattr(request, "u")]
    assert sorted({round(request.u, 2) for request in noisy}) == [
        0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95,
    ]  # fmt: skip
    assert len(noisy) == 10 * 5
    assert len({request.seed for request in noisy}) == len(noisy)
    assert len(router.seen) == 6 + 11 * 5


def test_counts_that_do_not_add_up_are_unscored(run):
    """A layer in which tokens are missing: nothing is made of the rest."""

    class Forgetful(Router):
        def _counts(self, request):
            counts = super()._counts(request)
            counts.counts[1] //= 2
            return counts

    found = run(Forgetful(forced))
    assert {score.unscored for score in found.scores} == {
        "the routing counts do not add up: every token chooses top_k experts in each layer"
    }
    assert found.metrics == {}


def test_a_summary_without_errors_has_the_same_values(make_task, run):
    """As when two runs are compared."""
    whole = run(Router(forced, twin=Router(even)))
    task = make_task("experts:mini")
    with stats.without_errors():
        bare = {m.name: m for m in task.summarize(whole.samples, whole.scores)}
    assert {name: m.value for name, m in bare.items()} == {
        name: m.value for name, m in whole.metrics.items()
    }
    assert all(metric.interval is None for metric in bare.values())


def test_every_expert_is_exported(make_task, run):
    whole = run(Router(forced, twin=Router(even)))
    task = make_task("experts:mini", bootstrap_resamples=20)
    rows = list(zip(whole.samples, whole.outputs, whole.scores, strict=True))
    files = dict(task.export(rows))
    table = list(csv.DictReader(io.StringIO(files["experts.csv"].decode())))
    assert len(table) == 2 * 4
    assert [row["class"] for row in table[:4]] == ["text", "text", "vision", "vision"]
    assert [float(row["rate_text"]) for row in table[:4]] == [0.5, 0.5, 0, 0]
    assert [float(row["twin_specialization"]) for row in table] == [0] * 8
    assert {float(row["class_kept_when_resampled"]) for row in table} == {1.0}
    figures = [data for name, data in files.items() if name.endswith(".png")]
    assert len(figures) == 3
    assert all(data.startswith(b"\x89PNG") for data in figures)


# --- text and pictures of the user ----------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    (tmp_path / "a.txt").write_text("some words of text\n\n" * 2000)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        array = np.full((9, 7, 3), 40 * index, np.uint8)
        (pictures / f"{index}.png").write_bytes(encode_png(array))
        (pictures / f"{index}.txt").write_text(f"picture {index}")
    (pictures / "broken.png").write_bytes(b"no picture")
    (pictures / "broken.txt").write_text("a caption")
    return {"text_path": str(tmp_path / "a.txt"), "pictures_path": str(pictures)}


def test_text_and_pictures_of_the_user(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    settings = {"experts": {**data, "bootstrap_resamples": 20}}
    record = evaluate(
        Router(forced, twin=Router(even)), "experts", output=tmp_path / "run", settings=settings
    )
    headline = record.get("experts")
    assert (headline.metric, headline.value, headline.unscored) == ("specialization", 1, 1)
    assert headline.facts["pictures"] == 3
    assert headline.facts["documents"] == 3
    assert not headline.mini
    assert record.get("experts", "specialization_over_twin").interval == (1, 1)


def test_a_model_without_a_twin_is_measured_all_the_same(tmp_path, monkeypatch, data):
    class Alone(Router):
        twin = None

    monkeypatch.chdir(tmp_path)
    settings = {
        "experts": {**data, "bootstrap_resamples": 20},
        "experts:text": {"text_path": data["text_path"], "bootstrap_resamples": 20},
    }
    record = evaluate(Alone(forced), "experts*", output=tmp_path / "run", settings=settings)
    assert record.get("experts").chance is None
    assert "specialization_over_twin" not in {row.metric for row in record.results}
    # The mini, which was only matched, is left out; by its own name it is refused.
    assert {row.task for row in record.results} == {"experts", "experts:text"}
    with pytest.raises(UserError, match="cannot run experts:mini: it lacks HasTwin"):
        evaluate(Alone(forced), "experts:mini", output=tmp_path / "no")


def test_what_cannot_be_used_is_named_at_once(make_task, tmp_path, data):
    with pytest.raises(UserError) as caught:
        make_task(
            "experts", text_path=tmp_path / "nothing", pictures_path=tmp_path / "nowhere"
        ).check()
    assert "nothing does not exist" in caught.value.what
    assert "nowhere" in caught.value.what
    with pytest.raises(UserError, match="missing"):
        make_task("experts").check()


def test_a_dense_checkpoint_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    from dataclasses import replace

    from checkpoints import TINY, tiny_checkpoint

    monkeypatch.chdir(tmp_path)
    config = replace(TINY, feed_forward="modality", hidden_dim=32)
    folder = tiny_checkpoint(tmp_path / "dense", config=config)
    (folder / "model.safetensors").write_bytes(b"never opened")
    for task in ("experts:mini", "experts", "experts:text"):
        with pytest.raises(UserError, match=f"cannot run {task}: it lacks .*ExposesRouting"):
            evaluate(str(folder), task, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_are_shown_in_the_report(make_task, run):
    whole = run(Router(forced))
    task = make_task("experts:mini")
    shown = [
        task.exhibit(sample, output, score)
        for sample, output, score in zip(whole.samples, whole.outputs, whole.scores, strict=True)
    ]
    assert {exhibit.group for exhibit in shown} == {"text", "pictures"}
    pictures = [exhibit for exhibit in shown if exhibit.group == "pictures"]
    assert all(isinstance(exhibit.shown["picture"], Picture) for exhibit in pictures)
    assert {exhibit.facts["tokens"] for exhibit in pictures} == {11 * 8}
