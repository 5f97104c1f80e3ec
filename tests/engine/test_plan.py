"""Batches are a function of the plan alone."""

from engine_fakes import Draw, Say
from hypothesis import given
from hypothesis import strategies as st

from unimm_eval.api import CAPABILITIES, TaskConfig, item_seed, make_samples
from unimm_eval.engine.plan import auto_batch_size, even_sizes, halved_sizes, plan_task


def planned(task, *, limit=None, batch_size=4, seed=0):
    return plan_task(task, seed=seed, limit=limit, batch_size=batch_size, device="cpu")


@given(st.integers(0, 200), st.integers(1, 40))
def test_batches_cover_all_outputs(outputs, size):
    sizes = even_sizes(outputs, size)
    assert sum(sizes) == outputs
    assert all(part == size for part in sizes[:-1])


@given(st.lists(st.integers(1, 40), min_size=1), st.data())
def test_halving_leaves_what_is_done_and_cuts_the_rest(sizes, data):
    index = data.draw(st.integers(0, len(sizes) - 1))
    cut = halved_sizes(sizes, index)
    assert cut[:index] == sizes[:index]
    assert sum(cut) == sum(sizes)
    assert max(cut[index:]) <= (sizes[index] + 1) // 2


def test_halving_ends_at_one():
    sizes = [7]
    for _ in range(3):
        sizes = halved_sizes(sizes, 0)
    assert sizes == [1] * 7


def test_equal_rows_stay_apart():
    entry = planned(Draw("draw"))
    first, last = entry.samples[0], entry.samples[-1]
    assert first.inputs == last.inputs
    assert last.id == f"{first.id}-1"
    assert len({item.seed for item in entry.items}) == len(entry.items) == 20


def test_any_text_has_an_id():
    ids = [sample.id for sample in make_samples([({"text": "half \ud800"}, "c")] * 2)]
    assert len(set(ids)) == 2


def test_seeds_do_not_depend_on_what_else_is_run():
    whole = {item.seed for item in planned(Say("say")).items}
    part = planned(Say("say"), limit=3, batch_size=2)
    assert {item.seed for item in part.items} < whole
    assert part.items[0].seed == item_seed(0, part.samples[0].id, 0)


def test_limit_takes_the_first_and_says_so():
    whole = planned(Say("say"))
    part = planned(Say("say"), limit=3)
    assert part.samples == whole.samples[:3]
    assert part.limited
    assert not planned(Say("say"), limit=10).limited
    own = planned(Say("say", config=TaskConfig(limit=2)), limit=5)
    assert len(own.samples) == 2


def test_a_limit_that_cuts_nothing_is_the_same_run():
    assert planned(Say("say"), limit=10).identity() == planned(Say("say")).identity()
    assert planned(Say("say"), limit=9).identity() != planned(Say("say")).identity()
    config = TaskConfig(limit=10)
    assert planned(Say("say", config=config)).protocol_hash == planned(Say("say")).protocol_hash


def test_keys_of_outputs_differ_by_model_task_seed_and_repeat():
    entry = planned(Draw("draw"))
    keys = {entry.output_key(item, model_key=model) for item in entry.items for model in "ab"}
    for other in (planned(Draw("draw2")), planned(Draw("draw"), seed=1)):
        keys |= {other.output_key(item, model_key="a") for item in other.items}
    assert len(keys) == 4 * 20


def test_auto_batch_size_knows_every_capability():
    for name in CAPABILITIES:
        cpu, gpu = (auto_batch_size(frozenset({name}), device=kind) for kind in ("cpu", "cuda:1"))
        assert 1 <= cpu <= gpu
    assert auto_batch_size(frozenset(CAPABILITIES), device="cpu") == 1
