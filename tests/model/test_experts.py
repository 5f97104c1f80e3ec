"""The grouped matrix products equal a loop over tokens, whatever is routed where."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny import MOE, tiny_model

from unimm_eval.model.feedforward import MixtureOfExperts, Routing
from unimm_eval.model.modality import Modalities

NARROW = replace(MOE, dim=8, num_layers=1, expert_dim=8)
CASES = {
    "none shared": replace(MOE, shared_experts="none", num_experts=12),
    "one shared": replace(MOE, shared_experts="global", num_experts=12),
    "one shared per modality": replace(MOE, shared_experts="modality", num_experts=12),
    "top-1": replace(MOE, shared_experts="none", top_k=1),
    "1008 experts": replace(NARROW, shared_experts="none", num_experts=1008, top_k=64),
    "1023 experts": replace(NARROW, shared_experts="modality", num_experts=1023, top_k=16),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def layer(request) -> MixtureOfExperts:
    return experts_of(request.param)


def experts_of(config) -> MixtureOfExperts:
    model = tiny_model(config).requires_grad_(True)
    return next(m for m in model.modules() if isinstance(m, MixtureOfExperts))


def tokens(layer: MixtureOfExperts, count: int = 7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    dim = layer.router.in_features
    x = torch.randn(count, dim, generator=generator).to(dtype).requires_grad_()
    return x, torch.arange(count) % 3 % 2


def grouped(layer, x, modality, routing=None):
    return layer(x, Modalities(of_N=modality), routing)


def looped(layer, x, modality):
    """One token and one expert at a time, in fp32."""
    p = F.linear(x.float(), layer.router.weight.float()).softmax(-1)
    gate_up, down = layer.gate_up_EDF.float(), layer.down_EFD.float()
    rows = []
    for token, probabilities, kind in zip(x.float(), p, modality.tolist(), strict=True):
        gate, chosen = probabilities.topk(layer.routed_top_k)
        gate = gate if len(gate) == 1 else gate / gate.sum()
        active = list(zip(chosen.tolist(), gate, strict=True))
        if layer.shared != "none":
            offset = kind if layer.shared == "modality" else 0
            active.append((layer.num_routed + offset, torch.tensor(1.0)))
        total = torch.zeros_like(token)
        for expert, weight in active:
            gated, up = (token @ gate_up[expert]).chunk(2)
            total = total + weight * ((F.silu(gated) * up) @ down[expert])
        rows.append(total)
    return torch.stack(rows)


def gradients(layer, y, x):
    """Of a fixed projection of `y`, with respect to the tokens and every weight."""
    target = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    weights = [layer.router.weight, layer.gate_up_EDF, layer.down_EFD]
    return torch.autograd.grad((y.float() * target).sum(), [x, *weights])


def test_grouped_experts_equal_a_loop_in_fp32_with_all_gradients(layer):
    x, modality = tokens(layer)
    ours, simple = grouped(layer, x, modality), looped(layer, x, modality)
    torch.testing.assert_close(ours, simple, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients(layer, ours, x), gradients(layer, simple, x), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_grouped_experts_equal_a_loop_in_bf16_to_its_precision(layer):
    layer.to(torch.bfloat16).router.float()
    x, modality = tokens(layer, dtype=torch.bfloat16)
    ours, simple = grouped(layer, x, modality), looped(layer, x, modality)
    assert ours.dtype == torch.bfloat16
    pairs = [(ours, simple), *zip(*(gradients(layer, y, x) for y in (ours, simple)), strict=True)]
    for a, b in pairs:
        assert (a.float() - b.float()).norm() < 2e-2 * b.float().norm()


def test_a_router_computes_in_fp32_when_all_else_is_bf16():
    layer = experts_of(MOE)
    x, modality = tokens(layer, dtype=torch.bfloat16)
    layer.to(torch.bfloat16).router.float()
    exact = F.linear(x.float(), layer.router.weight).softmax(-1)
    routing = Routing()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grouped(layer, x, modality, routing)
    assert routing.probabilities[0].dtype == torch.float32
    torch.testing.assert_close(routing.probabilities[0], exact)
    assert routing.balance_loss(torch.ones(len(x), dtype=torch.bool)).dtype == torch.float32


def test_a_single_routed_expert_teaches_the_router():
    layer = experts_of(CASES["top-1"])
    x, modality = tokens(layer)
    router_gradient = gradients(layer, grouped(layer, x, modality), x)[1]
    assert router_gradient.abs().max() > 1e-4


def test_experts_without_tokens_have_gradients_of_zero():
    layer = experts_of(CASES["none shared"])
    x, modality = tokens(layer, count=2)
    routing = Routing()
    _, _, gate_up, down = gradients(layer, grouped(layer, x, modality, routing), x)
    idle = torch.ones(layer.num_experts, dtype=torch.bool)
    idle[routing.choices[0]] = False
    assert idle.sum() >= 4
    for gradient in (gate_up, down):
        assert not gradient[idle].any()
        assert gradient[~idle].any(dim=(1, 2)).all()


@pytest.mark.parametrize("count", [0, 1])
def test_no_token_and_one_token_are_fine(layer, count):
    x, modality = tokens(layer, count=count)
    y = grouped(layer, x, modality)
    assert y.shape == x.shape
    assert all(torch.isfinite(gradient).all() for gradient in gradients(layer, y, x))


def test_a_sum_can_be_differentiated_though_its_gradient_has_no_strides(layer):
    x, modality = tokens(layer)
    grouped(layer, x, modality).sum().backward()
    ours = x.grad
    x.grad = None
    looped(layer, x, modality).sum().backward()
    torch.testing.assert_close(ours, x.grad, atol=1e-4, rtol=1e-4)


@pytest.fixture
def poisoned_memory():
    """New memory holds NaN, that of grouped_mm too."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_nothing_depends_on_memory_that_was_never_written(layer, request):
    x, modality = tokens(layer)
    clean = grouped(layer, x, modality)
    expected = [clean, *gradients(layer, clean, x)]
    request.getfixturevalue("poisoned_memory")
    rows, weights = torch.ones(3, 8), torch.ones(2, 8, 8)
    unwritten = F.grouped_mm(rows, weights, offs=torch.tensor([1, 2], dtype=torch.int32))[2]
    assert unwritten.isnan().all()  # what the layer must not read
    poisoned = grouped(layer, x, modality)
    for ours, wanted in zip([poisoned, *gradients(layer, poisoned, x)], expected, strict=True):
        assert torch.equal(ours, wanted)


def test_ties_are_broken_alike_in_every_run_and_every_batch():
    layer = experts_of(CASES["none shared"])
    layer.router.weight.data.zero_()
    x, modality = tokens(layer)
    together, again, alone = Routing(), Routing(), Routing()
    y = grouped(layer, x, modality, together)
    assert torch.equal(grouped(layer, x, modality, again), y)
    grouped(layer, x[3:4], modality[3:4], alone)
    assert torch.equal(together.choices[0], again.choices[0])
    assert torch.equal(together.choices[0][3:4], alone.choices[0])


def test_balance_loss_is_one_when_balanced_and_more_when_not():
    even = torch.full((8, 4), 0.25)
    choices = torch.tensor([[0, 1], [2, 3]] * 4)
    valid = torch.ones(8, dtype=torch.bool)
    balanced = Routing(choices=[choices], probabilities=[even]).balance_loss(valid)
    torch.testing.assert_close(balanced, torch.tensor(1.0))
    peaked = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).repeat(8, 1)
    collapsed = Routing(choices=[torch.zeros(8, 1, dtype=torch.long)], probabilities=[peaked])
    torch.testing.assert_close(collapsed.balance_loss(valid), torch.tensor(4 * 0.97))
    padding = torch.tensor([True] * 4 + [False] * 4)
    mixed = Routing(
        choices=[torch.cat((choices[:4], torch.zeros(4, 2, dtype=torch.long)))],
        probabilities=[torch.cat((even[:4], peaked[4:]))],
    )
    torch.testing.assert_close(mixed.balance_loss(padding), torch.tensor(1.0))
