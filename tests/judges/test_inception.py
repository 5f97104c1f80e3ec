"""Features of FID: each definition against its library's own classes, on random weights."""

import io
import math

import numpy as np
import pytest
import torch

from unimm_eval.api import UserError
from unimm_eval.judges.inception import DEFINITIONS, Inception

RNG = np.random.default_rng(0)
PICTURES = [
    RNG.integers(0, 256, size, dtype=np.uint8)
    for size in ((40, 64, 3), (320, 310, 3), (299, 299, 3))
]


@pytest.fixture(scope="module")
def torch_fidelity_weights(tmp_path_factory):
    """The extractor's own weights, random, of the size at which features are near 1."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    shapes = torch.nn.ModuleDict()
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *args: None)
        patch.setattr(theirs.FeatureExtractorInceptionV3, "to", lambda self, *args: self)
        shapes = theirs.FeatureExtractorInceptionV3("shapes", ["2048"]).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, meta in shapes.items():
        if name.endswith("conv.weight"):
            fan_in = math.prod(meta.shape[1:])
            noise = torch.randn(meta.shape, generator=generator)
            weights[name] = noise * math.sqrt(2 / fan_in)
        else:
            weights[name] = torch.full(meta.shape, float("var" in name or "weight" in name))
            weights[name] = weights[name].to(meta.dtype)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(weights, path)
    return path


class Scripted(torch.nn.Module):
    """What clean-fid's TorchScript file is to it: features of 299 x 299 by `layers`."""

    def __init__(self, features=2048):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 7, stride=4),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(),
            torch.nn.Linear(128, features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    torch.jit.save(torch.jit.script(Scripted()), path)
    return path


def features(name, path, pictures=PICTURES, batch_size=2):
    network = Inception(DEFINITIONS[name], path, device="cpu", batch_size=batch_size)
    return np.stack(list(network.features(pictures)))


def test_clean_is_clean_fids(torchscript):
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    resize = build_resizer("clean")
    network = InceptionV3W(str(torchscript.parent), download=False, resize_inside=False)
    for picture, found in zip(PICTURES, features("clean", torchscript), strict=True):
        resized = torch.from_numpy(resize(picture).transpose(2, 0, 1))[None]
        with torch.no_grad():
            theirs = network(resized)[0].numpy()
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "antialias"), [("torch-fidelity", False), ("torchmetrics", True)])
def test_the_others_are_their_libraries(torch_fidelity_weights, name, antialias):
    from torchmetrics.image.fid import NoTrainInceptionV3

    found = features(name, torch_fidelity_weights, PICTURES[:2])
    theirs = NoTrainInceptionV3(
        "x", ["2048"], feature_extractor_weights_path=torch_fidelity_weights, antialias=antialias
    )
    for picture, mine in zip(PICTURES[:2], found, strict=True):
        with torch.no_grad():
            (expected,) = theirs(torch.from_numpy(picture).permute(2, 0, 1)[None]).numpy()
        assert expected.std() > 0.01
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_torch_fidelitys_own_extractor_says_the_same(torch_fidelity_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "x", ["2048"], feature_extractor_weights_path=torch_fidelity_weights
    )
    picture = PICTURES[0]
    (expected,) = theirs(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].numpy()
    (mine,) = features("torch-fidelity", torch_fidelity_weights, [picture])
    np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_three_definitions_are_three():
    resized = [DEFINITIONS[name].resize(PICTURES[0]).numpy() for name in DEFINITIONS]
    assert {picture.shape for picture in resized} == {(3, 299, 299)}
    assert all(picture.min() >= 0 and picture.max() <= 255 for picture in resized)
    for i in range(3):
        assert np.abs(resized[i] - resized[i - 1]).max() > 5
    same = [DEFINITIONS[name].resize(PICTURES[2]).numpy() for name in DEFINITIONS]
    for picture in same:  # nothing to resize
        np.testing.assert_allclose(picture, PICTURES[2].transpose(2, 0, 1), atol=1e-3)


@pytest.mark.parametrize("name", ["clean"])
def test_a_picture_does_not_depend_on_its_batch(torchscript, name):
    together = features(name, torchscript, [*PICTURES, *PICTURES], batch_size=4)
    for index, picture in enumerate(PICTURES):
        (alone,) = features(name, torchscript, [picture], batch_size=4)
        np.testing.assert_array_equal(alone, together[index])
        np.testing.assert_array_equal(alone, together[index + 3])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_is_no_network_is_refused_by_name(tmp_path, name):
    path = tmp_path / "inception-2015-12-05.pt"
    buffer = io.BytesIO()
    torch.save({"something": torch.zeros(1)}, buffer)
    for content in (b"half a file", buffer.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"inception-2015-12-05\.pt cannot be loaded as"):
            Inception(DEFINITIONS[name], path, device="cpu", batch_size=1)
