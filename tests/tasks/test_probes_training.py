"""Classifiers and decoders: all layers and candidates at once are what each is alone, and as good
as scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unimm_eval.api import ArrayRow, UserError
from unimm_eval.model.encoders import RawPixels
from unimm_eval.tasks.probes import classifiers
from unimm_eval.tasks.probes.classifiers import Recipe, train_classifiers
from unimm_eval.tasks.probes.decoders import LEAST_ERROR, patches_of, train_decoders
from unimm_eval.tasks.probes.official import ProbesOfficialConfig
from unimm_eval.tasks.probes.stacks import Stack, packed

SMALL = Recipe(
    learning_rates=(2.0, 16.0),
    penalties=(0.0, 3.0),
    epochs=4,
    least_steps=40,
    batch_size=32,
)


def stack_of(array, *, name="backbone"):
    return Stack.of([ArrayRow(array=row) for row in array], name=name)


def parts_of(count, *, seed=0):
    order = np.random.default_rng(seed).permutation(count)
    train, val, test = np.split(order, [int(0.6 * count), int(0.8 * count)])
    return {"train": train, "val": val, "test": test}


@pytest.fixture(scope="module")
def layers():
    """[160, 3, 12]: the classes can be told from layer 1 best and from layer 0 not at all; a
    feature is constant, another has a large mean."""
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=160)
    features = rng.normal(size=(160, 3, 12)).astype(np.float32)
    centres = 4 * rng.normal(size=(4, 12))
    features[:, 1] += centres[classes]
    features[:, 2] += 0.3 * centres[classes]
    features[..., 10] = 3.0
    features[..., 11] += 100.0
    return features, classes


def probe(features, classes, recipe=SMALL):
    return train_classifiers(
        stack_of(features),
        classes,
        **parts_of(len(classes)),
        num_classes=4,
        recipe=recipe,
        device="cpu",
    )


def test_layers_together_are_layers_alone(layers):
    features, classes = layers
    whole = probe(features, classes)
    for layer in range(3):
        alone = probe(features[:, layer : layer + 1], classes)
        assert alone.chosen_L[0] == whole.chosen_L[layer]
        np.testing.assert_array_equal(alone.said_val_NL[:, 0], whole.said_val_NL[:, layer])
        np.testing.assert_array_equal(alone.said_test_NL[:, 0], whole.said_test_NL[:, layer])


def test_candidates_together_are_candidates_alone(layers):
    features, classes = layers
    whole = probe(features, classes)
    for layer, chosen in enumerate(whole.chosen_L):
        rate, decay = SMALL.candidates[chosen]
        recipe = replace(SMALL, learning_rates=(rate,), penalties=(decay,))
        alone = probe(features, classes, recipe)
        np.testing.assert_array_equal(alone.said_test_NL[:, layer], whole.said_test_NL[:, layer])


def test_layers_that_do_not_fit_together_are_trained_in_turn(layers, monkeypatch):
    features, classes = layers
    whole = probe(features, classes)
    monkeypatch.setattr(classifiers, "_CPU_BYTES", 1)
    in_turn = probe(features, classes)
    np.testing.assert_array_equal(in_turn.chosen_L, whole.chosen_L)
    np.testing.assert_array_equal(in_turn.said_test_NL, whole.said_test_NL)


def test_what_can_be_read_off_a_layer_is(layers):
    features, classes = layers
    test = parts_of(len(classes))["test"]
    right = (probe(features, classes).said_test_NL == classes[test][:, None]).mean(axis=0)
    assert right[1] == 1.0
    assert right[1] > right[2] > right[0]
    assert right[0] < 0.6


@pytest.mark.slow
def test_it_is_as_good_as_logistic_regression():
    """Mean over splits; one split of 360 has an error of a point."""
    images, classes = load_digits(return_X_y=True)
    config = ProbesOfficialConfig()
    recipe = Recipe(
        learning_rates=config.learning_rates,
        penalties=config.penalties,
        epochs=config.epochs,
        least_steps=config.least_steps,
        batch_size=config.probe_batch_size,
    )
    stack = stack_of(images[:, None].astype(np.float16))
    found = []
    for seed in range(4):
        parts = parts_of(len(images), seed=seed)
        probed = train_classifiers(
            stack, classes, **parts, num_classes=10, recipe=recipe, device="cpu"
        )
        train, test = parts["train"], parts["test"]
        peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        peer.fit(images[train], classes[train])
        ours = (probed.said_test_NL[:, 0] == classes[test]).mean()
        found.append((ours, peer.score(images[test], classes[test])))
    ours, theirs = np.mean(found, axis=0)
    assert ours >= theirs - 0.005


def test_features_that_are_not_finite_are_refused_by_file_and_layer(tmp_path, layers):
    features, classes = layers
    damaged = features.astype(np.float16)
    damaged[7, 2, 3] = np.nan
    np.save(tmp_path / "backbone.npy", damaged)
    rows = [ArrayRow(path=tmp_path / "backbone.npy", row=row) for row in range(len(damaged))]
    with pytest.raises(UserError, match=r"backbone\.npy, row 7: backbone\.2 holds numbers"):
        train_classifiers(
            Stack.of(rows, name="backbone"),
            classes,
            **{split: np.arange(160) for split in ("train", "val", "test")},
            num_classes=4,
            recipe=SMALL,
            device="cpu",
        )


def test_what_half_precision_does_not_hold_is_named():
    features = np.ones((2, 5), np.float32)
    assert packed(features, name="encoder").dtype == np.float16
    features[1, 3] = 1e6
    assert packed(features, name="encoder").startswith("encoder.1 reaches 1e+06")
    features[0, 0] = np.nan
    assert packed(features, name="encoder") == "encoder.0 is not finite"


@pytest.fixture(scope="module")
def drawn():
    """Raw pixels of smooth pictures: tokens [60, 4, 16, 12] of four layers, and patches: the pixels
    themselves, these turned by a matrix, these with noise, and noise alone."""
    rng = np.random.default_rng(1)
    corners = rng.integers(40, 216, (60, 2, 2, 3)).astype(np.float64)
    place = (np.arange(8) + 0.5) / 8
    ends = np.stack([1 - place, place])
    pictures = np.einsum("iabc,ay,bx->iyxc", corners, ends, ends).round().astype(np.uint8)
    patches = np.stack([patches_of(picture, tokens=16) for picture in pictures])
    values = patches.astype(np.float64) / 255
    turned = values @ rng.normal(size=(12, 12))
    noisy = values + rng.normal(size=values.shape) * 0.1
    tokens = np.stack([values, turned, noisy, rng.normal(size=values.shape)], axis=1)
    return tokens.astype(np.float32), patches


def decode(tokens, patches, ridges=(1e-9, 1e-2)):
    return train_decoders(
        stack_of(tokens),
        stack_of(patches, name="pixels"),
        **parts_of(len(tokens)),
        ridges=ridges,
        device="cpu",
    )


def test_what_is_linear_is_decoded_to_the_last_bit(drawn):
    tokens, patches = drawn
    found = decode(tokens, patches)
    best = -10 * np.log10(LEAST_ERROR)
    np.testing.assert_allclose(found.test_NL[:, :2], best)
    assert (found.test_NL[:, 2] < best - 10).all()
    assert found.val_NL.shape == found.test_NL.shape == (12, 4)


def test_a_layer_that_says_nothing_leaves_the_mean_patch(drawn):
    tokens, patches = drawn
    found = decode(tokens, patches, ridges=(1e9,))
    parts = parts_of(len(tokens))
    values = patches / 255
    error = (values[parts["test"]] - values[parts["train"]].mean((0, 1))) ** 2
    expected = -10 * np.log10(error.mean((1, 2)))
    for layer in range(4):
        np.testing.assert_allclose(found.test_NL[:, layer], expected, rtol=1e-5)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_decoders_are_ridge_regressions(drawn, ridge):
    tokens, patches = drawn
    parts = parts_of(len(tokens))
    found = decode(tokens, patches, ridges=(ridge,))
    x, y = (array.astype(np.float64) for array in (tokens[:, 2], patches / 255))
    train = x[parts["train"]].reshape(-1, 12)
    peer = make_pipeline(StandardScaler(), Ridge(alpha=ridge * len(train)))
    peer.fit(train, y[parts["train"]].reshape(-1, 12))
    said = peer.predict(x[parts["test"]].reshape(-1, 12)).reshape(12, 16, 12).clip(0, 1)
    expected = -10 * np.log10(((said - y[parts["test"]]) ** 2).mean((1, 2)))
    np.testing.assert_allclose(found.test_NL[:, 2], expected, rtol=1e-5)


def test_patches_are_the_tokens_of_raw_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    tokens = RawPixels().encode(torch.from_numpy(picture)[None])[0].numpy()
    np.testing.assert_allclose(patches_of(picture, tokens=16) / 127.5 - 1, tokens, atol=1e-6)
    with pytest.raises(ValueError, match="15 tokens are no grid"):
        patches_of(picture, tokens=15)
    with pytest.raises(ValueError, match="of 32 pixels"):
        patches_of(picture, tokens=9)
