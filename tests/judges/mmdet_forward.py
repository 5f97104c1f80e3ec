"""Mask2Former with a Swin backbone as mmdet 2.x computes it, over a dict of weights in its names.

Written as formulas of tensors, to hold the converted weights against.
"""

import math

import torch
from torch.nn import functional

WINDOW = 7
LEVELS, POINTS = 3, 4


class Weights:
    def __init__(self, weights, prefix=""):
        self.weights, self.prefix = weights, prefix

    def __getattr__(self, name):
        return Weights(self.weights, f"{self.prefix}.{name}".lstrip("."))

    __getitem__ = __getattr__

    @property
    def w(self):
        return self.weights[f"{self.prefix}.weight"]

    @property
    def b(self):
        return self.weights.get(f"{self.prefix}.bias")

    def tensor(self, name):
        return self.weights[f"{self.prefix}.{name}"]

    def count(self, name):
        start = f"{self.prefix}.{name}.".lstrip(".")
        return len(
            {key[len(start) :].split(".")[0] for key in self.weights if key.startswith(start)}
        )

    def linear(self, x):
        return functional.linear(x, self.w, self.b)

    def layer_norm(self, x):
        return functional.layer_norm(x, x.shape[-1:], self.w, self.b)

    def convolve(self, x, **kwargs):
        return functional.conv2d(x, self.w, self.b, **kwargs)

    def group_norm(self, x):
        return functional.group_norm(x, 32, self.w, self.b)


def position_index():
    """mmdet's two-step sequence, flipped."""
    steps = torch.arange(0, (2 * WINDOW - 1) * WINDOW, 2 * WINDOW - 1)
    sequence = (steps[:, None] + torch.arange(WINDOW)[None]).reshape(1, -1)
    return (sequence + sequence.T).flip(1)


def window_attention(weights, x_NLC, heads, mask):
    n, length, channels = x_NLC.shape
    qkv = weights.qkv.linear(x_NLC).reshape(n, length, 3, heads, channels // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    table = weights.tensor("relative_position_bias_table")
    bias = table[position_index().reshape(-1)].reshape(length, length, heads).permute(2, 0, 1)
    scores = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1) + bias
    if mask is not None:
        scores = (scores.reshape(-1, len(mask), heads, length, length) + mask[:, None]).reshape(
            n, heads, length, length
        )
    return weights.proj.linear(
        (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, channels)
    )


def windows(x_BHWC):
    b, h, w, c = x_BHWC.shape
    parts = x_BHWC.reshape(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, c)


def shifted_window_attention(weights, x_BHWC, heads, shift):
    b, h, w, c = x_BHWC.shape
    x = functional.pad(x_BHWC, (0, 0, 0, -w % WINDOW, 0, -h % WINDOW))
    padded = x.shape[1:3]
    mask = None
    if shift:
        x = x.roll((-shift, -shift), (1, 2))
        regions = torch.zeros(1, *padded, 1)
        cuts = (slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None))
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                regions[:, rows, columns] = 3 * i + j
        region = windows(regions)[..., 0]
        mask = (region[:, None] != region[:, :, None]).float() * -100.0
    out = window_attention(weights.w_msa, windows(x), heads, mask)
    out = out.reshape(b, padded[0] // WINDOW, padded[1] // WINDOW, WINDOW, WINDOW, c)
    out = out.permute(0, 1, 3, 2, 4, 5).reshape(b, *padded, c)
    if shift:
        out = out.roll((shift, shift), (1, 2))
    return out[:, :h, :w]


def merge_patches(weights, x_BHWC):
    """torch.nn.Unfold: channels are the slow axis, then the row, then the column."""
    x = x_BHWC.permute(0, 3, 1, 2)
    x = functional.pad(x, (0, -x.shape[3] % 2, 0, -x.shape[2] % 2))
    b, _, h, w = x.shape
    unfolded = functional.unfold(x, kernel_size=2, stride=2).transpose(1, 2)
    return weights.reduction.linear(weights.norm.layer_norm(unfolded)).reshape(
        b, h // 2, w // 2, -1
    )


def feed_forward(weights, x, activation):
    return weights.layers["1"].linear(activation(weights.layers["0"]["0"].linear(x)))


def swin(weights, pixels, heads):
    x = weights.patch_embed.projection.convolve(pixels, stride=4).permute(0, 2, 3, 1)
    x = weights.patch_embed.norm.layer_norm(x)
    features = []
    for stage in range(4):
        parts = weights.stages[str(stage)]
        for number in range(parts.count("blocks")):
            block = parts.blocks[str(number)]
            shift = WINDOW // 2 if number % 2 else 0
            x = x + shifted_window_attention(
                block.attn, block.norm1.layer_norm(x), heads[stage], shift
            )
            x = x + feed_forward(block.ffn, block.norm2.layer_norm(x), functional.gelu)
        features.append(weights[f"norm{stage}"].layer_norm(x).permute(0, 3, 1, 2))
        if stage < 3:
            x = merge_patches(parts.downsample, x)
    return features


def sine_positions(height, width, channels):
    """[channels, height, width], rows first, normalized to 2π."""
    half = channels // 2
    rows = torch.arange(1, height + 1) / (height + 1e-6) * 2 * math.pi
    columns = torch.arange(1, width + 1) / (width + 1e-6) * 2 * math.pi
    frequency = 10000 ** (2 * (torch.arange(half) // 2) / half)

    def waves(at):
        angle = at[:, None] / frequency
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y = waves(rows)[:, None].expand(height, width, half)
    x = waves(columns)[None].expand(height, width, half)
    return torch.cat((y, x), dim=2).permute(2, 0, 1)


def deformable_attention(weights, query, value, points, shapes, heads):
    """query (with positions) and value [batch, n, channels]; points [n, 2] as x, y in 0…1."""
    b, n, c = query.shape
    values = weights.value_proj.linear(value).reshape(b, n, heads, c // heads)
    offsets = weights.sampling_offsets.linear(query).reshape(b, n, heads, LEVELS, POINTS, 2)
    shares = weights.attention_weights.linear(query).reshape(b, n, heads, LEVELS * POINTS)
    shares = shares.softmax(-1).reshape(b, n, heads, LEVELS, POINTS)
    out = torch.zeros(b, n, heads, c // heads)
    start = 0
    for level, (h, w) in enumerate(shapes):
        grid = values[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * heads, -1, h, w)
        start += h * w
        at = points[None, :, None, None] + offsets[:, :, :, level] / torch.tensor([w, h])
        at = (2 * at - 1).permute(0, 2, 1, 3, 4).reshape(b * heads, n, POINTS, 2)
        found = functional.grid_sample(grid, at, align_corners=False)
        found = found.reshape(b, heads, -1, n, POINTS).permute(0, 3, 1, 4, 2)
        out += (found * shares[:, :, :, level, :, None]).sum(3)
    return weights.output_proj.linear(out.reshape(b, n, c))


def pixel_decoder(weights, features, heads):
    shapes, tokens, positions, points = [], [], [], []
    for level, feature in enumerate(reversed(features[1:])):
        convolution = weights.input_convs[str(level)]
        x = convolution.gn.group_norm(convolution.conv.convolve(feature))
        _, c, h, w = x.shape
        embedding = weights.level_encoding.w[level][:, None, None]
        shapes.append((h, w))
        tokens.append(x.flatten(2).transpose(1, 2))
        positions.append((sine_positions(h, w, c) + embedding).flatten(1).T)
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        points.append(torch.stack((x / w, y / h), dim=-1).reshape(-1, 2))
    x, position, point = torch.cat(tokens, 1), torch.cat(positions), torch.cat(points)
    for number in range(weights.encoder.count("layers")):
        layer = weights.encoder.layers[str(number)]
        seen = deformable_attention(layer.attentions["0"], x + position, x, point, shapes, heads)
        x = layer.norms["0"].layer_norm(x + seen)
        x = layer.norms["1"].layer_norm(x + feed_forward(layer.ffns["0"], x, functional.relu))
    sizes = [h * w for h, w in shapes]
    maps = [
        part.transpose(1, 2).reshape(len(part), -1, h, w)
        for part, (h, w) in zip(x.split(sizes, 1), shapes, strict=True)
    ]
    lateral, output = weights.lateral_convs["0"], weights.output_convs["0"]
    y = lateral.gn.group_norm(lateral.conv.convolve(features[0]))
    y = y + functional.interpolate(maps[-1], size=y.shape[-2:], mode="bilinear")
    y = functional.relu(output.gn.group_norm(output.conv.convolve(y, padding=1)))
    return weights.mask_feature.convolve(y), maps


def attention(weights, query, key, value, heads, mask=None):
    """torch's MultiheadAttention, which mmcv wraps."""
    return functional.multi_head_attention_forward(
        query, key, value, query.shape[-1], heads,
        weights.tensor("in_proj_weight"), weights.tensor("in_proj_bias"),
        None, None, False, 0.0, weights.out_proj.w, weights.out_proj.b,
        training=False, need_weights=False, attn_mask=mask,
    )[0]  # fmt: skip


def mask2former(weights, pixels, *, swin_heads, heads):
    """(class logits, mask logits) of normalized pixels."""
    weights = Weights(weights)
    head = weights.panoptic_head
    masks_from, maps = pixel_decoder(
        head.pixel_decoder, swin(weights.backbone, pixels, swin_heads), heads
    )
    memory, positions = [], []
    for level, x in enumerate(maps):
        memory.append((x + head.level_embed.w[level][:, None, None]).flatten(2).permute(2, 0, 1))
        positions.append(sine_positions(*x.shape[2:], x.shape[1]).flatten(1).T[:, None])
    batch = len(pixels)
    query = head.query_feat.w[:, None].expand(-1, batch, -1)
    own = head.query_embed.w[:, None].expand(-1, batch, -1)

    def predict(query, size):
        x = head.transformer_decoder.post_norm.layer_norm(query).transpose(0, 1)
        y = functional.relu(head.mask_embed["0"].linear(x))
        y = head.mask_embed["4"].linear(functional.relu(head.mask_embed["2"].linear(y)))
        masks = torch.einsum("bqc,bchw->bqhw", y, masks_from)
        small = functional.interpolate(masks, size=size, mode="bilinear").flatten(2)
        hidden = (small.sigmoid() < 0.5)[:, None].expand(-1, heads, -1, -1).flatten(0, 1)
        return head.cls_embed.linear(x), masks, hidden & ~hidden.all(-1, keepdim=True)

    classes, masks, hidden = predict(query, maps[0].shape[2:])
    count = head.transformer_decoder.count("layers")
    for number in range(count):
        layer = head.transformer_decoder.layers[str(number)]
        level = number % LEVELS
        key = memory[level] + positions[level]
        seen = attention(
            layer.attentions["0"].attn, query + own, key, memory[level], heads, mask=hidden
        )
        query = layer.norms["0"].layer_norm(query + seen)
        seen = attention(layer.attentions["1"].attn, query + own, query + own, query, heads)
        query = layer.norms["1"].layer_norm(query + seen)
        query = layer.norms["2"].layer_norm(
            query + feed_forward(layer.ffns["0"], query, functional.relu)
        )
        classes, masks, hidden = predict(query, maps[(number + 1) % LEVELS].shape[2:])
    return classes, masks
