"""Pictures encoded on the device, a batch at once, are those that workers would have encoded."""

import pytest
import torch
from data_kit import WORDS, write_jsonl, write_picture
from test_frozen_encoder import dual_recipe, root  # noqa: F401 - a fixture

from unimm_eval.model.encoders import RawPixels
from unimm_eval.model.sequence import pack
from unimm_eval.train.data.encode import Encoding, encode_sources
from unimm_eval.train.data.late import encoded_late, late_pictures, with_latents
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.rows import RecipeRows

CPU = torch.device("cpu")


def test_a_batch_is_the_same_encoded_late_and_partly_from_latents_made_before(root, tmp_path):  # noqa: F811
    """Of a dual encoder: pictures to be drawn, to be understood, and of the world beside them."""
    for i in range(4):
        write_picture(tmp_path / f"{i}.png", seed=i)
    pairs = [{"image": f"{i % 4}.png", "caption": f"ring {i}"} for i in range(6)]
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    changes = {
        "sources": {"pairs": {"kind": "captions", "path": str(path), "direction": "both"}},
        "stages": [{"from_step": 0, "mixture": {"pairs": 0.5, "chat": 0.3, "text_to_image": 0.2}}],
        "cache": str(tmp_path / "cache"),
    }
    recipe = Recipe(**{**dual_recipe(root).model_dump(), **changes}).with_weights()
    encode_sources(Encoding(recipe=recipe, output=tmp_path / "latents", device=CPU))
    cached = recipe.model_copy(update={"latents": str(tmp_path / "latents")})

    def batch(recipe, *, late):
        rows = RecipeRows(recipe, WORDS, tmp_path / "run", late=late)
        read = [rows.row(k) for k in range(6)]
        packed = pack(
            read, length=640, pad=0, grid_tokens=256, channels=16, understanding_channels=32
        )
        pictures = late_pictures(read)
        if late:
            assert pictures.pictures is not None
            assert pictures.understood is not None
            packed = with_latents(packed, pictures, recipe.load_encoder())
        else:
            assert (pictures.pictures, pictures.understood) == (None, None)
        return vars(packed)

    anew = batch(recipe, late=False)
    assert len(anew["latents_ITC"])
    assert len(anew["understood_JTU"])
    for other in (batch(recipe, late=True), batch(cached, late=True), batch(cached, late=False)):
        for name, value in anew.items():
            if name != "visible":
                torch.testing.assert_close(other[name], value, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("device", "late"), [("cpu", False), ("cuda", True), ("meta", True)])
def test_frozen_networks_run_where_the_model_does(root, device, late):  # noqa: F811
    encoder = dual_recipe(root).encoder_()
    assert encoded_late(encoder, torch.device(device)) == late
    assert not encoded_late(RawPixels(picture_size=32, patch_size=8), torch.device(device))
