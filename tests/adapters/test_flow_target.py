"""What a flow loss is of: the same velocity, unclamped, for both kinds of prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint

from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import DenoiseRequest, Picture
from unimm_eval.model.encoders import RawPixels
from unimm_eval.model.generate import seeded_noise

TIMES = (0.05, 0.5, 0.95, 0.9999)
SEED = 7


@pytest.mark.parametrize("prediction", ["v", "x"])
def test_a_head_that_says_zero_loses_what_its_kind_of_zero_does(tmp_path, prediction):
    config = replace(TINY, prediction=prediction)
    model = UnimmCheckpoint.load(
        str(tiny_checkpoint(tmp_path / "m", config=config)), device="cpu", dtype="float32"
    )
    with torch.no_grad():
        for weight in model._model.latent_out.parameters():
            weight.zero_()
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    requests = [
        DenoiseRequest(
            sample_id="s", seed=SEED, picture=Picture(array=array), caption="a red ring", u=u
        )
        for u in TIMES
    ]
    encoder = RawPixels()
    z0 = encoder.encode(encoder.fit(torch.from_numpy(array))[None])[0]
    (eps,) = seeded_noise([SEED], tokens=config.latent_tokens, channels=config.latent_channels)
    for loss in model.flow_losses(requests):
        z_t = loss.t * z0 + (1 - loss.t) * eps
        velocity = 0.0 if prediction == "v" else -z_t / (1 - loss.t)
        expected = float((velocity - (z0 - eps)).double().square().mean())
        assert loss.loss == pytest.approx(expected, rel=1e-4)
        blank = float((z0.double() / (1 - loss.t)).square().mean())
        assert loss.blank == pytest.approx(blank, rel=1e-4)
        assert prediction == "v" or loss.loss == pytest.approx(blank, rel=1e-3)
