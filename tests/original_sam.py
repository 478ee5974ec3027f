"""The original segment-anything, restated: weights by its names and in its shapes, and its formulas.

Written from the formulas, not from the program, so that checkpoints can be tested without it. Layer norms of
the encoder, the mask prompt and the upscaling add 1e-6 to the variance, those of the two-way decoder 1e-5.
"""

import math

import torch
from decoder_formulas import RestatedTransformer
from torch import nn
from torch.nn import functional

DECODER_HEADS = 8


class Shapes(dict):
    """Shapes by weight name."""

    def layer(self, name, *shape, bias=None):
        """Add a layer's weight and, unless `bias` is 0, its bias: as many numbers as the weight has rows."""
        self[f"{name}.weight"] = shape
        if bias != 0:
            self[f"{name}.bias"] = (bias or shape[0],)

    def mlp(self, name, sizes):
        """Add a network of len(sizes) - 1 layers."""
        for i in range(len(sizes) - 1):
            self.layer(f"{name}.layers.{i}", sizes[i + 1], sizes[i])


def original_weights(
    *,
    width: int = 32,
    heads: int = 2,
    depth: int = 2,
    window: int = 7,
    whole: tuple[int, ...] = (1,),
    grid: int = 8,
    patch_size: int = 8,
    channels: int = 32,
    mask_channels: int = 16,
) -> dict[str, torch.Tensor]:
    """Return random weights; `whole` are the blocks that attend to the whole picture."""
    shapes = Shapes({"image_encoder.pos_embed": (1, grid, grid, width)})
    shapes.layer("image_encoder.patch_embed.proj", width, 3, patch_size, patch_size)
    for i in range(depth):
        block = f"image_encoder.blocks.{i}"
        for side in "hw":
            shapes[f"{block}.attn.rel_pos_{side}"] = (
                2 * (grid if i in whole else window) - 1,
                width // heads,
            )
        shapes.layer(f"{block}.attn.qkv", 3 * width, width)
        shapes.layer(f"{block}.attn.proj", width, width)
        shapes.layer(f"{block}.mlp.lin1", 3 * width, width)
        shapes.layer(f"{block}.mlp.lin2", width, 3 * width)
        shapes.layer(f"{block}.norm1", width)
        shapes.layer(f"{block}.norm2", width)
    shapes.layer("image_encoder.neck.0", channels, width, 1, 1, bias=0)
    shapes.layer("image_encoder.neck.1", channels)
    shapes.layer("image_encoder.neck.2", channels, channels, 3, 3, bias=0)
    shapes.layer("image_encoder.neck.3", channels)
    _add_prompts(shapes, channels, mask_channels)
    _add_decoder(shapes, channels)
    generator = torch.Generator().manual_seed(1)
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


def _add_prompts(shapes: Shapes, channels: int, mask_channels: int) -> None:
    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, channels // 2)
    for name in (*(f"point_embeddings.{i}" for i in range(4)), "not_a_point_embed", "no_mask_embed"):
        shapes.layer(f"prompt_encoder.{name}", 1, channels, bias=0)
    down = "prompt_encoder.mask_downscaling"
    shapes.layer(f"{down}.0", mask_channels // 4, 1, 2, 2)
    shapes.layer(f"{down}.1", mask_channels // 4)
    shapes.layer(f"{down}.3", mask_channels, mask_channels // 4, 2, 2)
    shapes.layer(f"{down}.4", mask_channels)
    shapes.layer(f"{down}.6", channels, mask_channels, 1, 1)


def _add_decoder(shapes: Shapes, channels: int) -> None:
    two_way = "mask_decoder.transformer"
    shapes.layer("mask_decoder.iou_token", 1, channels, bias=0)
    shapes.layer("mask_decoder.mask_tokens", 4, channels, bias=0)
    attentions = {f"{two_way}.final_attn_token_to_image": 2}
    for block in (f"{two_way}.layers.0", f"{two_way}.layers.1"):
        ways = {"self_attn": 1, "cross_attn_token_to_image": 2, "cross_attn_image_to_token": 2}
        attentions |= {f"{block}.{way}": downsampling for way, downsampling in ways.items()}
        for k in range(4):
            shapes.layer(f"{block}.norm{k + 1}", channels)
        shapes.layer(f"{block}.mlp.lin1", 48, channels)
        shapes.layer(f"{block}.mlp.lin2", channels, 48)
    for name, downsampling in attentions.items():
        for part in "qkv":
            shapes.layer(f"{name}.{part}_proj", channels // downsampling, channels)
        shapes.layer(f"{name}.out_proj", channels, channels // downsampling)
    shapes.layer(f"{two_way}.norm_final_attn", channels)
    up = "mask_decoder.output_upscaling"
    shapes.layer(f"{up}.0", channels, channels // 4, 2, 2, bias=channels // 4)
    shapes.layer(f"{up}.1", channels // 4)
    shapes.layer(f"{up}.3", channels // 4, channels // 8, 2, 2, bias=channels // 8)
    shapes.mlp("mask_decoder.iou_prediction_head", (channels, 40, 40, 4))
    for k in range(4):
        shapes.mlp(
            f"mask_decoder.output_hypernetworks_mlps.{k}", (channels, channels, channels, channels // 8)
        )


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return random values: near 1 for the scale of a norm, of size 1 for embeddings, scaled elsewhere."""
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return values * 0.2 + name.endswith("weight")
    alone = any(part in name for part in ("point", "no_mask", "pos_embed", "token.", "tokens.", "gaussian"))
    return values if alone else values / math.prod(shape[1:]) ** 0.5


def live_sam(weights: dict[str, torch.Tensor]) -> nn.Module:
    """Return a module with these weights in the places where a live Sam of the package has them."""
    root = nn.Module()
    for name, value in weights.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        place.register_parameter(last, nn.Parameter(value, requires_grad=False))
    layers = root.mask_decoder.transformer.layers
    root.mask_decoder.transformer.layers = nn.ModuleList(layers.children())
    root.mask_decoder.transformer.layers[0].self_attn.num_heads = DECODER_HEADS
    return root


class OriginalSam:
    """The formulas, in the precision of the weights."""

    def __init__(self, weights: dict[str, torch.Tensor], decoder_heads: int = DECODER_HEADS) -> None:
        self.weights = weights
        # The restatement of the two-way transformer knows a norm as `layer_norm`.
        names = {name.replace(".norm", ".layer_norm"): value for name, value in weights.items()}
        self.two_way = RestatedTransformer(names, heads=decoder_heads, num_layers=2, eps=1e-5)
        self.grid = weights["image_encoder.pos_embed"].shape[1]
        self.patch = weights["image_encoder.patch_embed.proj.weight"].shape[-1]

    def layer(self, name):
        """Return a layer's weight and bias."""
        return self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")

    def norm(self, name, x):
        """Return x [... c] normalised."""
        return functional.layer_norm(x, x.shape[-1:], *self.layer(name), 1e-6)

    def norm2d(self, name, x):
        """Return x [1 c h w] normalised over its channels."""
        return self.norm(name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def encode(self, pixel_values):
        """Return the features [1 c g g] of pixels [1 3 L L]."""
        x = functional.conv2d(pixel_values, *self.layer("image_encoder.patch_embed.proj"), stride=self.patch)
        x = x.permute(0, 2, 3, 1)[0] + self.weights["image_encoder.pos_embed"][0]
        block = 0
        while f"image_encoder.blocks.{block}.norm1.weight" in self.weights:
            name = f"image_encoder.blocks.{block}"
            x = x + self.windowed(f"{name}.attn", self.norm(f"{name}.norm1", x))
            hidden = functional.gelu(
                functional.linear(self.norm(f"{name}.norm2", x), *self.layer(f"{name}.mlp.lin1"))
            )
            x = x + functional.linear(hidden, *self.layer(f"{name}.mlp.lin2"))
            block += 1
        x = functional.conv2d(x.permute(2, 0, 1)[None], *self.layer("image_encoder.neck.0"))
        x = self.norm2d("image_encoder.neck.1", x)
        x = functional.conv2d(x, *self.layer("image_encoder.neck.2"), padding=1)
        return self.norm2d("image_encoder.neck.3", x)

    def windowed(self, name, x):
        """Return attention within windows, as large as the relative positions reach; x is [g g c]."""
        window = (len(self.weights[f"{name}.rel_pos_h"]) + 1) // 2
        side = -(-self.grid // window) * window
        padded = functional.pad(x, (0, 0, 0, side - self.grid, 0, side - self.grid))
        out = torch.empty_like(padded)
        for top in range(0, side, window):
            for left in range(0, side, window):
                here = (slice(top, top + window), slice(left, left + window))
                out[here] = self.attend(name, padded[here])
        return out[: self.grid, : self.grid]

    def attend(self, name, x):
        """Return attention over x [s s c], with what the relative positions add: rows and columns apart."""
        side = len(x)
        down, right = (self.weights[f"{name}.rel_pos_{axis}"] for axis in "hw")
        heads = x.shape[-1] // down.shape[1]
        qkv = functional.linear(x.flatten(0, 1), *self.layer(f"{name}.qkv"))
        q, k, v = qkv.reshape(side * side, 3, heads, -1).permute(1, 2, 0, 3)
        offset = torch.arange(side)[:, None] - torch.arange(side) + side - 1
        of_cell = q.reshape(heads, side, side, -1)
        rows = torch.einsum("nyxd,yud->nyxu", of_cell, down[offset])[..., :, None]
        columns = torch.einsum("nyxd,xvd->nyxv", of_cell, right[offset])[..., None, :]
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        weights = torch.softmax(scores + (rows + columns).reshape(scores.shape), dim=-1)
        out = (weights @ v).transpose(0, 1).reshape(side, side, -1)
        return functional.linear(out, *self.layer(f"{name}.proj"))

    def decode(self, features, points, labels, box=None, mask=None):
        """Return the logits of all four mask tokens [4 h w] and their IoU predictions [4].

        Points [n 2] and box [4] are in the model's pixels; mask is [1 1 h w].
        """
        first = [self.weights[f"mask_decoder.{name}.weight"] for name in ("iou_token", "mask_tokens")]
        tokens = torch.cat([*first, *self.prompts(points, labels, box)])
        dense = self.weights["prompt_encoder.no_mask_embed.weight"]
        if mask is not None:
            dense = self.mask_prompt(mask)[0].flatten(1).T
        cells = features[0].flatten(1).T + dense
        centre = (torch.arange(self.grid).to(cells) + 0.5) / self.grid
        positions = torch.stack([centre.repeat(self.grid), centre.repeat_interleave(self.grid)], -1)
        tokens, cells = self.two_way(tokens, cells, self.positions(positions), None, torch.zeros(()))
        name = "mask_decoder.output_upscaling"
        up = cells.T.reshape(1, -1, self.grid, self.grid)
        up = functional.conv_transpose2d(up, *self.layer(f"{name}.0"), stride=2)
        up = functional.gelu(self.norm2d(f"{name}.1", up))
        up = functional.gelu(functional.conv_transpose2d(up, *self.layer(f"{name}.3"), stride=2))
        kernels = [self.mlp(f"mask_decoder.output_hypernetworks_mlps.{k}", tokens[1 + k]) for k in range(4)]
        iou = self.mlp("mask_decoder.iou_prediction_head", tokens[0])
        return torch.einsum("kc,chw->khw", torch.stack(kernels), up[0]), iou

    def prompts(self, points, labels, box):
        """Return the tokens of the points, and of the box's corners or, without one, of no point."""
        kinds = torch.cat([self.weights[f"prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)])
        side = self.grid * self.patch
        tokens = [self.positions((points + 0.5) / side) + kinds[labels]]
        if box is None:
            return [*tokens, self.weights["prompt_encoder.not_a_point_embed.weight"]]
        return [*tokens, self.positions((box.reshape(2, 2) + 0.5) / side) + kinds[2:]]

    def mask_prompt(self, mask):
        """Return what a mask's logits [1 1 h w] add to the features."""
        name = "prompt_encoder.mask_downscaling"
        for conv, norm in ((0, 1), (3, 4)):
            mask = functional.conv2d(mask, *self.layer(f"{name}.{conv}"), stride=2)
            mask = functional.gelu(self.norm2d(f"{name}.{norm}", mask))
        return functional.conv2d(mask, *self.layer(f"{name}.6"))

    def positions(self, xy):
        """Return the encoding of points in the unit square."""
        gaussian = self.weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angles = 2 * math.pi * (2 * xy - 1) @ gaussian
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def mlp(self, name, x):
        """Return the named network of three layers applied to x."""
        for i in range(2):
            x = torch.relu(functional.linear(x, *self.layer(f"{name}.layers.{i}")))
        return functional.linear(x, *self.layer(f"{name}.layers.2"))
