"""Training with encoders whose weights are others': pinned, exported, refused when exchanged."""

import frozen
import pytest
import torch
from small_recipe import small_recipe

from unimm_eval.api import UserError
from unimm_eval.model.checkpoint import read_checkpoint
from unimm_eval.model.encoders import RawPixels
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.export import export_run
from unimm_eval.train.mixture import WorldMixture, tokenizer_texts
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import load_recipe


@pytest.fixture
def root(tmp_path):
    pytest.importorskip("diffusers")
    root = tmp_path / "weights"
    frozen.siglip_vision().save_pretrained(root / "siglip")
    frozen.kl_vae(4).save_pretrained(root / "vae")
    return root


def dual_recipe(root, **changes):
    plain = small_recipe()
    understanding = {"kind": "siglip2", "channels": 32, "decoder": None}
    return small_recipe(
        model={
            **plain.model,
            "latent_channels": 16,
            "latent_grid": 16,
            "understanding_channels": 32,
        },
        encoder={
            "kind": "dual",
            "understanding": {**understanding, "weights": str(root / "siglip")},
            "generating": {"kind": "sd_vae", "weights": str(root / "vae")},
        },
        stages=({"from_step": 0, "mixture": {"text_to_image": 0.5, "chat": 0.5}},),
        **{"steps": 6, "rows": 2, "length": 640, "seed": 1, **changes},
    )


def test_a_dual_encoder_trains_both_projections_and_is_exported_pinned(root, tmp_path):
    recipe = dual_recipe(root)
    run = Pretraining(recipe, tmp_path / "run", workers=0)
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    run.run(until=3)
    after = run.model.state_dict()
    for name in ("latent_in.weight", "understood_in.weight", "latent_out.weight"):
        assert not torch.equal(before[name], after[name])
    assert not any("encoder" in name or "vision" in name for name in after)

    pinned = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert pinned.encoder_().pinned
    assert not recipe.encoder_().pinned
    assert pinned.identity(3) == recipe.with_weights().identity(3)
    elsewhere = {**pinned.encoder["generating"]["weights"], "source": "another/place"}
    moved = {**pinned.encoder, "generating": {**pinned.encoder["generating"], "weights": elsewhere}}
    assert pinned.model_copy(update={"encoder": moved}).identity(3) == pinned.identity(3)

    export_run(tmp_path / "run", tmp_path / "checkpoint")
    assert read_checkpoint(tmp_path / "checkpoint").encoder == pinned.encoder_()

    frozen.kl_vae(4).save_pretrained(root / "vae")
    with pytest.raises(UserError, match="another recipe"):
        Pretraining(recipe, tmp_path / "run", workers=0)
    with pytest.raises(UserError, match="other weights than"):
        Pretraining(pinned, tmp_path / "run", workers=0).run(until=4)


def test_shares_of_tokens_do_not_depend_on_what_pictures_show(monkeypatch):
    recipe = small_recipe()
    tokenizer = Tokenizer.train(iter(tokenizer_texts(0, 50)), vocab_size=768)
    seen = []
    original = RawPixels.encode
    monkeypatch.setattr(
        RawPixels, "encode", lambda self, x: (seen.append(len(x)), original(self, x))[1]
    )
    mixture = WorldMixture(recipe, tokenizer)
    assert not seen
    assert any(
        getattr(part, "latents", None) is not None and part.latents.any()
        for k in range(4)
        for document in mixture.row(k)
        for part in document
    )
    assert seen


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"context_noise": "paper"}, "context_noise"),
        ({"clean_share": 0.5}, "context_noise"),
        ({"encoder": {"kind": "sd_vae"}}, "0 channels to understand, the model takes 32"),
        ({"encoder": {"kind": "vq"}}, "unknown encoder 'vq'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(tmp_path, changes, named):
    values = {**dual_recipe(tmp_path).model_dump(), **changes}
    with pytest.raises(ValueError, match=named):
        small_recipe(**values)
