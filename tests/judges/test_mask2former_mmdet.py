"""mmdet's weights in transformers' module compute what mmdet computes; nothing is lost or left."""

import hashlib

import pytest
import torch
from mmdet_forward import Weights, mask2former, merge_patches, position_index
from safetensors.torch import load_file
from tiny_judges import as_mmdet, save_mask2former, tiny_config, tiny_mask2former

from unimm_eval.api import UserError
from unimm_eval.judges.mask2former import Mask2Former
from unimm_eval.judges.mask2former_mmdet import (
    convert,
    convert_weights,
    main,
    official_config,
    reorder_merged,
)


@pytest.fixture
def hub(tmp_path):
    """Weights of a tiny model, as the hub's checkpoints name them."""
    save_mask2former(tmp_path / "hub", confident=1.0)
    return load_file(tmp_path / "hub" / "model.safetensors")


@pytest.fixture
def checkpoint(tmp_path, hub):
    """The same as a checkpoint of mmdet."""
    state = as_mmdet(hub)
    index = position_index()
    for name in [name for name in state if name.endswith("bias_table")]:
        state[name.replace("bias_table", "index")] = index
    path = tmp_path / "theirs.pth"
    torch.save({"meta": {"epoch": 50, "CLASSES": ("person",)}, "state_dict": state}, path)
    return path


def loaded(checkpoint, target):
    convert(checkpoint, target, config=tiny_config, sha256_prefix="")
    return Mask2Former.load(target, device="cpu")


def test_the_whole_network_computes_what_mmdet_computes(checkpoint, tmp_path):
    theirs = torch.load(checkpoint, weights_only=True)["state_dict"]
    pixels = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(3))
    expected = mask2former(theirs, pixels, swin_heads=(1, 2, 4, 8), heads=4)
    model = loaded(checkpoint, tmp_path / "ours")._model
    with torch.inference_mode():
        found = model(pixel_values=pixels)
    for ours, mmdets in zip(
        (found.class_queries_logits, found.masks_queries_logits), expected, strict=True
    ):
        assert mmdets.std() > 0.01
        torch.testing.assert_close(ours, mmdets, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_merging_patches_needs_the_permutation(size):
    from transformers.models.swin.modeling_swin import SwinPatchMerging

    torch.manual_seed(0)
    theirs = {
        "norm.weight": torch.randn(24),
        "norm.bias": torch.randn(24),
        "reduction.weight": torch.randn(12, 24),
    }
    x_BHWC = torch.randn(2, *size, 6)
    expected = merge_patches(Weights(theirs), x_BHWC).flatten(1, 2)
    module = SwinPatchMerging(6)

    def run(state):
        module.load_state_dict(state)
        with torch.inference_mode():
            return module(x_BHWC.flatten(1, 2), size)

    ours = {name: reorder_merged(weight) for name, weight in theirs.items()}
    torch.testing.assert_close(run(ours), expected, rtol=1e-5, atol=1e-5)
    assert (run(theirs) - expected).abs().max() > 0.1


def test_both_count_relative_positions_alike():
    from transformers.models.swin.modeling_swin import SwinRelativePositionBias

    ours = SwinRelativePositionBias(1, (7, 7)).relative_position_index
    assert torch.equal(ours, position_index().reshape(-1))


def test_every_weight_is_mapped_and_none_is_missing(hub, checkpoint, tmp_path):
    converted = convert_weights(torch.load(checkpoint, weights_only=True)["state_dict"])
    idle = {name for name in hub if "criterion" in name or "swin.layernorm" in name}
    assert len(idle) == 3
    assert set(converted) == set(hub) - idle
    assert all(torch.equal(converted[name], hub[name]) for name in converted)
    model = loaded(checkpoint, tmp_path / "ours")._model
    same = tiny_mask2former(confident=1.0).state_dict()
    for name, weight in model.state_dict().items():
        assert "swin.layernorm" in name or torch.equal(weight, same[name])


def test_names_that_are_unknown_or_missing_are_refused(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    with pytest.raises(UserError, match=r"1 weights .*bbox_head\.fc"):
        convert_weights({**state, "bbox_head.fc.weight": torch.zeros(1)})
    state.pop("panoptic_head.query_feat.weight")
    torch.save({"state_dict": state}, checkpoint)
    with pytest.raises(UserError, match=r"missing_keys.*queries_features"):
        convert(checkpoint, tmp_path / "ours", config=tiny_config, sha256_prefix="")
    assert not (tmp_path / "ours").exists()
    assert not list(tmp_path.glob(".*part"))


def test_only_the_official_file_is_converted(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"SHA-256 .* begins with 743b7d99"):
        convert(checkpoint, tmp_path / "ours")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    convert(checkpoint, tmp_path / "ours", config=tiny_config, sha256_prefix=digest[:8])
    with pytest.raises(UserError, match="is there already"):
        convert(checkpoint, tmp_path / "ours", config=tiny_config, sha256_prefix="")


def test_equal_checkpoints_give_equal_files(checkpoint, tmp_path):
    for name in ("one", "two"):
        loaded(checkpoint, tmp_path / name)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"cos\nsystem\n(S'touch gone'\ntR."], ids=len
)
def test_what_is_not_plain_tensors_is_refused(content, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        convert(path, tmp_path / "ours", sha256_prefix="")


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["--data-dir", str(tmp_path)]) == 2
    assert "743b7d99.pth cannot be read" in capsys.readouterr().err


def test_the_official_configuration_is_swin_small():
    from transformers import Mask2FormerForUniversalSegmentation

    with torch.device("meta"):
        model = Mask2FormerForUniversalSegmentation(official_config())
    layers = model.model.transformer_module.decoder.layers
    assert len(layers) == 9
    assert model.class_predictor.out_features == 81
    assert 68e6 < sum(weight.numel() for weight in model.parameters()) < 70e6
