"""Tasks that are also reported as one mean: found, run, summed up once all of them are there."""

import math

import pytest
from engine_fakes import FakeModel, Say
from pydantic import ValidationError

from unimm_eval import evaluate
from unimm_eval.api import Group, Result, UserError
from unimm_eval.engine import evaluate as engine_evaluate
from unimm_eval.engine.groups import group_rows, spread_settings
from unimm_eval.engine.registry import find_tasks, group_entries, task_entries

PAIR = Group(
    name="pair",
    title="two of them",
    protocol="p",
    version=1,
    members={"a": {"metric": "mean"}, "b": {"metric": "points", "scale": 0.5}},
    metrics={"mean": {}, "first": {"members": ["a"]}},
    range=(0, 100),
)


def row(task, metric, value, *, stderr=1.0, **fields):
    given = {"n": 10, "direction": "higher", "mini": False, "protocol_hash": f"{task} hash"}
    return Result(task=task, metric=metric, value=value, stderr=stderr, **given | fields)


def test_the_mean_is_of_scaled_members_and_variances_add_up():
    rows = group_rows(
        [PAIR], [row("a", "mean", 30.0, stderr=3.0), row("b", "points", 100.0, stderr=8.0)]
    )
    mean, first = rows
    assert (mean.task, mean.metric, mean.headline) == ("pair", "mean", True)
    assert mean.value == pytest.approx((30 + 50) / 2)
    assert mean.stderr == pytest.approx(math.hypot(3.0, 4.0) / 2)
    low, high = mean.interval
    assert (low + high) / 2 == pytest.approx(mean.value)
    assert high - mean.value == pytest.approx(1.96 * mean.stderr, rel=1e-3)
    assert mean.facts["members"] == {"a": 30.0, "b": 50.0}
    assert mean.n == 20
    assert not first.headline
    assert first.value == 30.0


def test_a_mean_is_made_of_all_its_members_or_not_at_all():
    assert group_rows([PAIR], [row("b", "points", 1.0)]) == []
    assert group_rows([PAIR], [row("a", "another", 1.0), row("b", "points", 1.0)]) == []
    alone = group_rows([PAIR], [row("a", "mean", 1.0)])
    assert [entry.metric for entry in alone] == ["first"]


def test_what_a_member_lacks_the_mean_lacks():
    rows = [
        row("a", "mean", 99.0, chance=20.0, unscored=2),
        row("b", "points", 200.0, limited=True),
    ]
    mean, first = group_rows([PAIR], rows)
    assert mean.chance is None
    assert first.chance == 20.0
    assert mean.unscored == 2
    assert mean.limited
    assert mean.interval[1] <= 100
    mean, _ = group_rows([PAIR], [rows[0], row("b", "points", 1.0, stderr=None)])
    assert mean.stderr is None
    assert mean.interval is None


def test_the_hash_follows_the_protocols_of_the_members():
    def hashes(**changed):
        rows = [row("a", "mean", 1.0), row("b", "points", 1.0, **changed)]
        return [entry.protocol_hash for entry in group_rows([PAIR], rows)]

    straight, other = hashes(), hashes(protocol_hash="another")
    assert straight[0] != other[0]
    assert straight[1] == other[1]  # `b` is not in it


def test_a_mean_of_strangers_is_refused():
    with pytest.raises(ValidationError, match="c, which is no member"):
        Group(**{**PAIR.model_dump(), "metrics": {"mean": {"members": ["c"]}}})


def test_settings_of_a_group_go_to_the_members_that_have_them():
    fields = {"a": ["limit", "path"], "b": ["limit"]}
    given = {"pair": {"limit": "3", "path": "x"}, "a": {"limit": "5"}, "c": {}}
    assert spread_settings(given, {"pair": PAIR}, fields.__getitem__) == {
        "a": {"limit": "5", "path": "x"},
        "b": {"limit": "3"},
        "c": {},
    }
    with pytest.raises(UserError, match="No task of pair has a setting 'limits'"):
        spread_settings({"pair": {"limits": 3}}, {"pair": PAIR}, fields.__getitem__)


def test_vqa16_is_sixteen_tasks_in_four_groups():
    group = group_entries()["vqa16"]
    assert len(group.members) == 16
    parts = [group.members_of(name) for name in group.metrics if name != "mean"]
    assert sorted(sum(parts, ())) == sorted(group.members)
    assert [len(part) for part in parts] == [4, 4, 4, 4]


def test_a_group_is_named_like_a_task():
    names = [entry.card.name for entry in find_tasks(["vqa16"], task_entries())]
    assert names == list(group_entries()["vqa16"].members)


def test_a_group_without_its_tasks_says_so():
    entries = {name: entry for name, entry in task_entries().items() if name != "gqa"}
    with pytest.raises(UserError, match=r"members that are no tasks: .'gqa'"):
        find_tasks(["vqa16"], entries)


def test_a_run_of_all_members_ends_with_the_mean(tmp_path, monkeypatch):
    group = Group(
        name="both", title="both", protocol="fake", version=1,
        members={"one": {"metric": "mean"}, "two": {"metric": "mean"}}, metrics={"mean": {}},
    )  # fmt: skip
    monkeypatch.setattr(engine_evaluate, "group_entries", lambda: {"both": group})
    record = evaluate(FakeModel(), [Say("one"), Say("two")], output=tmp_path / "run")
    values = [record.get(name).value for name in ("one", "two")]
    assert record.get("both").value == pytest.approx(sum(values) / 2)
    assert record.get("both").mini
    alone = evaluate(FakeModel(), [Say("one")], output=tmp_path / "alone")
    assert {entry.task for entry in alone.results} == {"one"}
