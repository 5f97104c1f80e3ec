"""Files and answers from outside are read, or refused by name, whatever they hold."""

import contextlib
import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkpoints import tiny_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimm_eval.api import Picture, PictureError, UserError, load_record, load_reported
from unimm_eval.cli.options import read_options
from unimm_eval.engine.registry import read_card
from unimm_eval.engine.run import read_run
from unimm_eval.judges import labelled_digits, without_thoughts, yes_or_no
from unimm_eval.model.checkpoint import read_checkpoint
from unimm_eval.scaling.points import read_points
from unimm_eval.train.recipe import load_recipe
from unimm_eval.world.nwm_pickle import load_arrays

ROOT = Path(__file__).parents[2]
RECORD = next((ROOT / "results" / "demo").glob("*.json"))

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def mutated(draw: st.DrawFn, document: object) -> object:
    """The document with some value, at some depth, replaced or taken away."""
    document = copy.deepcopy(document)
    place, path = document, []
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(list(keys)))
        path.append((place, key))
        place = place[key]
        if draw(st.integers(0, 2)) == 0:
            break
    holder, key = path[-1]
    if draw(st.booleans()) and isinstance(holder, dict):
        del holder[key]
        if draw(st.booleans()):
            holder[draw(st.text(max_size=9))] = draw(values)
    else:
        holder[key] = draw(values)
    return document


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


READERS = {
    "card.yaml": (read_card, ROOT / "tasks" / "geneval" / "card.yaml"),
    "record.json": (load_record, RECORD),
    "recipe.yaml": (load_recipe, ROOT / "train" / "recipes" / "demo.yaml"),
    "options.yaml": (lambda path: read_options({}, config=path), None),
    "reported/rows.yaml": (
        lambda path: load_reported(path.parent),
        next((ROOT / "results" / "reported").glob("*.yaml")),
    ),
    "run/run.json": (lambda path: read_run(path.parent), None),
    "points.csv": (read_points, None),
}


@pytest.mark.parametrize("name", READERS)
@quickly
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path, name, data):
    reader, _ = READERS[name]
    noise = data.draw(st.binary(max_size=200) | values.map(lambda v: json.dumps(v).encode()))
    with contextlib.suppress(UserError):
        reader(written(tmp_path, name, noise))


@pytest.mark.parametrize("name", [name for name, (_, real) in READERS.items() if real])
@quickly
@given(data=st.data())
def test_a_real_file_with_one_thing_changed_is_read_or_refused(tmp_path, name, data):
    reader, real = READERS[name]
    load, dump = (json.loads, json.dumps) if name.endswith("json") else (yaml.safe_load, yaml.dump)
    document = _document(real, load)
    changed = dump(mutated(data.draw, document))
    with contextlib.suppress(UserError):
        reader(written(tmp_path, name, changed))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("fuzz") / "tiny")


@pytest.mark.parametrize("name", ["config.json", "encoder.json", "training.json"])
@quickly
@given(data=st.data())
def test_a_checkpoint_with_one_thing_changed_is_read_or_refused(checkpoint, name, data):
    whole = (checkpoint / name).read_bytes()
    noise = data.draw(st.binary(max_size=100) | st.just(b""))
    text = noise or json.dumps(mutated(data.draw, json.loads(whole)))
    try:
        written(checkpoint, name, text)
        read_checkpoint(checkpoint)
    except ValueError:  # of the model room; programs make a message of it
        pass
    finally:
        (checkpoint / name).write_bytes(whole)


@quickly
@given(data=st.data())
def test_a_damaged_picture_is_refused_as_one(tmp_path, data):
    whole = next((ROOT / "results" / "demo").rglob("*.png")).read_bytes()
    start, noise = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=64))
    path = written(tmp_path, "picture.png", whole[:start] + noise + whole[start + len(noise) :])
    with contextlib.suppress(PictureError):
        assert Picture(path=path).load().ndim == 3


@quickly
@given(data=st.data())
def test_a_damaged_pickle_is_read_or_refused(tmp_path, data):
    whole = pickle.dumps({"position": np.zeros((3, 2)), "yaw": np.zeros(3)}, protocol=4)
    start, noise = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=24))
    damaged = whole[:start] + noise + whole[start + len(noise) :]
    with contextlib.suppress(UserError):
        load_arrays(written(tmp_path, "traj_data.pkl", damaged))


@quickly
@given(text=st.text(max_size=300) | st.sampled_from(["Yes", "no.", "Realism: 2", "Realism: 9"]))
def test_a_verdict_is_read_or_is_none(text):
    assert isinstance(without_thoughts(text), str)
    with contextlib.suppress(ValueError):
        assert yes_or_no(text) in (True, False)
    with contextlib.suppress(ValueError):
        digits = labelled_digits(text, ["Realism"], largest=2)
        assert digits["Realism"] in (0, 1, 2)


@quickly
@given(data=st.data())
def test_a_record_that_says_something_else_is_no_record(tmp_path, data):
    document = _document(RECORD, json.loads)
    firm = {key: value for key, value in document.items() if key != "volatile"}
    changed = mutated(data.draw, firm)
    with contextlib.suppress(UserError):
        # What may be left out, and is what it would be without, says the same.
        read = load_record(written(tmp_path, "record.json", json.dumps(changed)))
        assert read.digest == document["digest"]


_documents: dict[Path, object] = {}


def _document(path, load):
    if path not in _documents:
        _documents[path] = load(path.read_text(encoding="utf-8"))
    return _documents[path]
