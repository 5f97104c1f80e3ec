"""Cards of mini tasks pin the samples they were measured on, and the defaults of their settings."""

import pytest

from unimm_eval.api import stable_hash

MINI = (
    "cc12m:mini",
    "dclm:mini",
    "dpgbench:mini",
    "experts:mini",
    "fid:mini",
    "geneval:mini",
    "nwm:mini",
    "prediction:mini",
    "probes:mini",
    "rollout:mini",
    "vqa16:mini",
    "wise:mini",
)


@pytest.mark.parametrize("name", MINI)
def test_the_card_pins_its_samples(make_task, name):
    """When this fails the world has changed: numbers of before and after do not compare.

    Raise the card's `version` if results with the old one are published, and put the new hash in.
    """
    task = make_task(name)
    samples = list(task.samples())
    assert samples == list(make_task(name).samples())
    assert (
        stable_hash([sample.id for sample in samples], length=64)
        == (task.card.data["samples_sha256"])
    )
    assert task.card.budget["samples"] == len(samples)
    assert task.card.budget["outputs"] == sum(sample.repeats for sample in samples)


@pytest.mark.parametrize("name", [*MINI, "cc12m"])
def test_the_card_pins_the_defaults(make_task, name):
    task = make_task(name)
    known = task.config.model_dump(
        mode="json", exclude={"limit", "path", "swap_pictures", "solver"}
    )
    assert {key: task.card.settings[key] for key in known} == known
