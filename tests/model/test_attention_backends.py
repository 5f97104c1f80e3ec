"""One mask for every back end: dense, flex attention, cached; and documents that never meet."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MOE, VARIANTS, batch_of, picture, tiny_model, tokenizer
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from unimm_eval.model.attention import KVCache
from unimm_eval.model.generate import Session
from unimm_eval.model.masks import BLOCK, DenseMask, FlexMask, Visible
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    TextSegment,
    caption_document,
    question_document,
    text_document,
)
from unimm_eval.model.sequence import pack as pack_rows

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
PICTURE = None
"""Stands for a picture among lengths of text."""

MOST = 24
"""Tokens of a segment."""

segments = st.one_of(st.integers(1, MOST), st.just(PICTURE))
documents_of_a_row = st.lists(st.lists(segments, min_size=1, max_size=3), max_size=3)
rows_of_documents = st.lists(documents_of_a_row, min_size=1, max_size=3)


def used(row: list[list[int | None]], *, grid_tokens: int) -> int:
    return sum(part or grid_tokens for document in row for part in document)


def visible_and_truth(
    rows: list[list[list[int | None]]], *, grid_tokens: int, length: int
) -> tuple[Visible, torch.Tensor]:
    """The mask of packed rows, and who sees whom from the definition, pair by pair."""
    documents: list[list[Document]] = [
        [
            [
                TextSegment(ids=[1] * part)
                if part is not PICTURE
                else PictureSegment(latents=np.zeros((grid_tokens, 1), np.float32))
                for part in document
            ]
            for document in row
        ]
        for row in rows
    ]
    batch = pack_rows(documents, length=length, pad=0, grid_tokens=grid_tokens, channels=1)
    owner = torch.arange(length).repeat(len(rows), 1) + 10_000  # padding is each its own document
    unit = torch.arange(length).repeat(len(rows), 1)  # what is seen whole: a token, a picture
    for row, row_documents in enumerate(rows):
        at = 0
        for number, document in enumerate(row_documents):
            for part in document:
                size = part or grid_tokens
                owner[row, at : at + size] = number
                if part is PICTURE:
                    unit[row, at : at + size] = at
                at += size
    causal = torch.arange(length) <= torch.arange(length)[:, None]
    same_unit = unit[:, :, None] == unit[:, None]
    return batch.visible, (owner[:, :, None] == owner[:, None]) & (causal | same_unit)


@settings(deadline=None, max_examples=60)
@given(rows_of_documents, st.integers(1, MOST), st.integers(1, 20), st.sampled_from([8, 16, 128]))
def test_the_mask_is_the_definition_and_its_blocks_those_found_pair_by_pair(
    rows, grid_tokens, slack, block_size
):
    count = len(rows)
    length = max(used(row, grid_tokens=grid_tokens) for row in rows) + slack
    visible, truth = visible_and_truth(rows, grid_tokens=grid_tokens, length=length)
    assert torch.equal(visible.dense(length)[:, 0], truth)
    ours = visible.blocks(block_size)
    theirs = create_block_mask(
        lambda b, h, q, k: truth[b, q, k],
        count,
        None,
        length,
        length,
        device="cpu",
        BLOCK_SIZE=block_size,
    )
    assert_same_blocks(ours, theirs)
    pair = torch.meshgrid(*map(torch.arange, (count, length, length)), indexing="ij")
    assert torch.equal(ours.mask_mod(pair[0], torch.tensor(0), pair[1], pair[2]), truth)


def assert_same_blocks(ours: BlockMask, theirs: BlockMask) -> None:
    assert ours.shape == theirs.shape
    assert ours.BLOCK_SIZE == theirs.BLOCK_SIZE
    for kind in ("kv", "full_kv", "q", "full_q"):  # the last two are for the backward pass
        for name in (f"{kind}_num_blocks", f"{kind}_indices"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def test_blocks_of_a_long_row_are_full_partial_and_empty():
    rows = [[[100, PICTURE, 344], [130], [500]]]
    visible, _ = visible_and_truth(rows, grid_tokens=256, length=11 * BLOCK - 1)
    blocks = visible.blocks()
    full, partial = int(blocks.full_kv_num_blocks.sum()), int(blocks.kv_num_blocks.sum())
    assert min(full, partial, 11 * 11 - full - partial) > 5


def heads(rows: int, length: int, *, num_kv_heads: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, n, length, 8, generator=generator) for n in (4, *[num_kv_heads] * 2)]


@settings(deadline=None, max_examples=15)
@given(st.tuples(documents_of_a_row, documents_of_a_row), st.integers(1, MOST))
@pytest.mark.parametrize("num_kv_heads", [1, 4])
def test_flex_attention_equals_dense_attention(num_kv_heads, rows, grid_tokens):
    length = 3 * 3 * MOST + 1  # one shape, since flex attention is traced for each
    visible, truth = visible_and_truth(list(rows), grid_tokens=grid_tokens, length=length)
    q, k, v = heads(2, length, num_kv_heads=num_kv_heads, seed=0)
    dense, flex = (
        visible.mask(backend, dtype=q.dtype).attend(q, k, v) for backend in ("dense", "flex")
    )
    assert flex.isfinite().all()
    torch.testing.assert_close(flex, dense, **TOLERANCE)
    group = 4 // num_kv_heads
    scores = q @ k.repeat_interleave(group, 1).mT / 8**0.5
    weights = scores.masked_fill(~truth[:, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(dense, weights @ v.repeat_interleave(group, 1), **TOLERANCE)


def test_a_new_mask_of_the_same_shape_is_not_compiled_anew():
    compiles = CompileCounter()
    compiled = torch.compile(flex_attention, backend=compiles)
    q, k, v = heads(1, 300, num_kv_heads=2, seed=1)
    for rows in ([[[300]]], [[[20, PICTURE, 9], [100]]], [[[PICTURE], [PICTURE], [PICTURE]]]):
        visible, _ = visible_and_truth(rows, grid_tokens=64, length=300)
        flex = FlexMask(blocks=visible.blocks(), flex_attention=compiled)
        dense = DenseMask.of(visible, num_keys=300, dtype=q.dtype)
        torch.testing.assert_close(flex.attend(q, k, v), dense.attend(q, k, v), **TOLERANCE)
    assert compiles.frame_count == 1


def packed_rows(config, *, caption: str = "a ring", seed: int = 1) -> list[list[Document]]:
    """Two rows over several blocks; `caption` and `seed` change the second document alone."""
    words = tokenizer()
    changing = caption_document(words, caption, picture(config, seed=seed, t=0.3, flow=True))
    long = text_document(words, "a ring left of a moon " * 5)
    asked = question_document(
        words, [picture(config, seed=2), picture(config, seed=3)], "what color is the bar? " * 4
    )
    return [[long, changing, asked, long, asked], [asked, long]]


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_computes_the_same_on_both_back_ends(config):
    model = tiny_model(config)
    batch = batch_of(config, packed_rows(config), length=301)
    assert int(batch.valid_BS[0].sum()) > BLOCK
    dense = model.hidden(batch, batch.latents_ITC)
    model.attention_backend = "flex"
    torch.testing.assert_close(model.hidden(batch, batch.latents_ITC), dense, **TOLERANCE)


@pytest.mark.parametrize("backend", ["dense", "flex"])
@pytest.mark.parametrize(
    "config",
    [VARIANTS["shared"], VARIANTS["mixture of transformers"], MOE],
    ids=["shared", "mixture of transformers", "moe"],
)
def test_packed_documents_never_see_each_other(config, backend):
    model = tiny_model(config)
    model.attention_backend = backend
    states = []
    for caption, seed in (("a ring", 1), ("a moon", 9)):
        batch = batch_of(config, packed_rows(config, caption=caption, seed=seed), length=301)
        states.append(model.hidden(batch, batch.latents_ITC))
    start = int((batch.positions_BS[0] == 0).nonzero()[1])
    end = int((batch.positions_BS[0] == 0).nonzero()[2])
    same = (states[0] == states[1]).all(-1)
    assert not same[0, end - 1]
    same[0, start:end] = True
    assert same.all()


@pytest.mark.parametrize("backend", ["dense", "flex"])
def test_padding_is_finite_even_where_a_row_is_nothing_else(backend):
    model = tiny_model()
    model.attention_backend = backend
    rows = [*packed_rows(MOE), []]
    hidden = model.hidden(batch := batch_of(MOE, rows, length=301), batch.latents_ITC)
    assert hidden.isfinite().all()


def test_a_context_is_encoded_by_either_back_end():
    words, model = tokenizer(), tiny_model()
    documents = [row[0] for row in packed_rows(MOE)]
    z = torch.randn(2, MOE.latent_tokens, MOE.latent_channels)
    velocities = []
    for backend in ("dense", "flex"):
        model.attention_backend = backend
        session = Session(model, documents, new_tokens=MOE.latent_tokens, pad=words.pad)
        velocities.append(session.denoise(z, torch.tensor(0.5)))
    torch.testing.assert_close(*velocities, **TOLERANCE)


def test_a_back_end_that_cannot_work_is_refused_by_name():
    model = tiny_model()
    batch = batch_of(MOE, packed_rows(MOE), length=301)
    model.attention_backend = "flash"
    with pytest.raises(ValueError, match="attention_backend"):
        model.hidden(batch, batch.latents_ITC)
    model.attention_backend = "flex"
    model.requires_grad_(True)
    with pytest.raises(ValueError, match="attention_backend='dense'"):
        model.losses(batch, with_balance=False)
    with torch.no_grad():
        model.losses(batch, with_balance=False)


def test_a_sequence_longer_than_the_cache_is_refused():
    words, model = tokenizer(), tiny_model()
    document = text_document(words, "a ring left of a moon")
    batch = batch_of(MOE, [[document]], length=20)
    cache = KVCache(MOE, rows=1, capacity=19, device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(ValueError, match="capacity of 19"):
        model.hidden(batch, batch.latents_ITC, cache=cache)
    cache.advance(19)
    with pytest.raises(ValueError, match="20 tokens do not fit"):
        cache.advance(torch.tensor([1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex attention trains on a GPU alone")
@pytest.mark.parametrize("name", ["shared", "mixture of transformers"])
def test_flex_attention_trains_like_dense_attention_on_a_gpu(name):
    config = replace(VARIANTS[name], head_dim=16)
    model = tiny_model(config).requires_grad_(True).cuda()
    batch = batch_of(config, packed_rows(config), length=301).to(torch.device("cuda"))
    gradients = []
    for backend in ("dense", "flex"):
        model.attention_backend = backend
        losses = model.losses(batch, with_balance=False)
        total = losses.text_sum / losses.text_count + losses.flow_sum / losses.flow_count
        gradients.append(torch.autograd.grad(total, list(model.parameters())))
    for flex, dense in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(flex, dense, atol=1e-3, rtol=1e-3)
