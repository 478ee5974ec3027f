"""SAM's mask decoder under PerSAM's guidance, restated over a model's own weights, with known mistakes.

The two-way transformer, which all SAMs share, is restated for all of them; what is around it for Sam.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# Every other way to read the paper or to write the program that is known to have been taken.
MISTAKES = (
    "no alias",
    "target once",
    "no target in the last query",
    "target in the residual",
    "before the softmax",
    "paper's equation 8",
    "final attention guided",
)


def attention_weights(scores, guide, mistake):
    """Return softmax(softmax(scores) + guide), or a mistaken reading of it; softmax(scores) unguided."""
    if guide is None:
        return torch.softmax(scores, -1)
    if mistake == "before the softmax":
        return torch.softmax(scores + guide, -1)
    if mistake == "paper's equation 8":
        guide = torch.softmax(guide, -1)
    return torch.softmax(torch.softmax(scores, -1) + guide, -1)


class RestatedTransformer:
    """The two-way transformer's formulas; tokens are [t d] and image cells [cells d]."""

    def __init__(self, weights, *, heads: int, num_layers: int, eps: float, mistake: str = "") -> None:
        self.weights, self.heads, self.num_layers, self.eps = weights, heads, num_layers, eps
        # The families name the same layers differently.
        first = "mask_decoder.transformer.layers.0"
        self.out = "out_proj" if f"{first}.self_attn.out_proj.weight" in weights else "o_proj"
        self.hidden = ("lin1", "lin2") if f"{first}.mlp.lin1.weight" in weights else ("proj_in", "proj_out")
        self.mistake = mistake

    @classmethod
    def of(cls, model: nn.Module, mistake: str = "") -> "RestatedTransformer":
        """Return the formulas over the weights of a SAM of transformers."""
        config = model.config.mask_decoder_config
        return cls(
            model.state_dict(),
            heads=config.num_attention_heads,
            num_layers=config.num_hidden_layers,
            # Sam2 and its descendants leave torch's default.
            eps=getattr(config, "layer_norm_eps", 1e-5),
            mistake=mistake,
        )

    def __call__(self, tokens, cells, cells_pe, guide, target):
        """Return tokens and cells after all layers: q and k, with the tokens' positional encoding in pe."""
        pe = tokens if self.mistake == "no alias" else tokens + target
        q, k = tokens + target, cells
        for i in range(self.num_layers):
            name = f"mask_decoder.transformer.layers.{i}"
            if i == 0:
                q = self.norm(f"{name}.layer_norm1", self.attend(f"{name}.self_attn", q, q, q))
            else:
                q = q if self.mistake == "target once" else q + target
                q = self.norm(f"{name}.layer_norm1", q + self.attend(f"{name}.self_attn", q + pe, q + pe, q))
            seen = self.attend(f"{name}.cross_attn_token_to_image", q + pe, k + cells_pe, k, guide)
            q = self.norm(f"{name}.layer_norm2", q + seen)
            enter, leave = self.hidden
            hidden = torch.relu(self.linear(f"{name}.mlp.{enter}", q))
            q = self.norm(f"{name}.layer_norm3", q + self.linear(f"{name}.mlp.{leave}", hidden))
            told = self.attend(f"{name}.cross_attn_image_to_token", k + cells_pe, q + pe, q)
            k = self.norm(f"{name}.layer_norm4", k + told)
        guide = guide if self.mistake == "final attention guided" else None
        last = 0 if self.mistake == "no target in the last query" else target
        name = "mask_decoder.transformer"
        seen = self.attend(f"{name}.final_attn_token_to_image", q + pe + last, k + cells_pe, k, guide)
        q = q + target if self.mistake == "target in the residual" else q
        return self.norm(f"{name}.layer_norm_final_attn", q + seen, 1e-5), k

    def attend(self, name, q, k, v, guide=None):
        """Return multi-head attention from [t d] to [s d]."""
        parts = (self.linear(f"{name}.{p}_proj", x) for p, x in zip("qkv", (q, k, v), strict=True))
        q, k, v = (x.reshape(len(x), self.heads, -1).transpose(0, 1) for x in parts)
        weights = attention_weights(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), guide, self.mistake)
        return self.linear(f"{name}.{self.out}", (weights @ v).transpose(0, 1).flatten(1))

    def linear(self, name, x):
        """Return the named linear map of x."""
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name, x, eps=None):
        """Return the named layer norm of x."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, eps or self.eps)


class Restated:
    """Sam's decoder for two points and no box."""

    def __init__(self, segmenter: Segmenter, mistake: str = "") -> None:
        self.two_way = RestatedTransformer.of(segmenter.model, mistake)
        self.weights = self.two_way.weights
        self.linear, self.norm = self.two_way.linear, self.two_way.norm
        self.length = segmenter.input_length

    def __call__(self, embedding: Embedding, input_points, labels, similarity, target):
        """Return the logits of all four mask tokens [4 h w] and their IoU predictions [4]."""
        side = embedding.features.shape[-1]
        tokens = self.tokens(input_points.to(embedding.features), labels)
        cells = embedding.features[0].flatten(1).T + self.weights["prompt_encoder.no_mask_embed.weight"]
        centre = (torch.arange(side).to(cells) + 0.5) / side
        cells_pe = self.positions(torch.stack([centre.repeat(side), centre.repeat_interleave(side)], -1))
        guide = None if similarity is None else similarity.reshape(1, 1, -1)
        target = torch.zeros(()) if target is None else target
        tokens, cells = self.two_way(tokens, cells, cells_pe, guide, target)
        return self.masks(tokens, cells, side), self.mlp("mask_decoder.iou_prediction_head", tokens[0])

    def tokens(self, input_points, labels):
        """Return the IoU token, mask tokens, points, and, because there is no box, the point that is none."""
        points = self.positions((input_points + 0.5) / self.length)
        kinds = [self.weights[f"prompt_encoder.point_embed.{label}.weight"] for label in labels.tolist()]
        first = [self.weights[f"mask_decoder.{name}.weight"] for name in ("iou_token", "mask_tokens")]
        pad = self.weights["prompt_encoder.not_a_point_embed.weight"]
        return torch.cat([*first, points + torch.cat(kinds), pad])

    def masks(self, tokens, cells, side):
        """Return the logits of the four mask tokens."""
        name = "mask_decoder.upscale"
        up = self.upscale(f"{name}_conv1", cells.T.reshape(1, -1, side, side))
        up = self.norm(f"{name}_layer_norm", up.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
        up = functional.gelu(self.upscale(f"{name}_conv2", functional.gelu(up)))[0]
        kernels = [self.mlp(f"mask_decoder.output_hypernetworks_mlps.{i}", tokens[1 + i]) for i in range(4)]
        return torch.einsum("kc,chw->khw", torch.stack(kernels), up)

    def positions(self, xy):
        """Return the encoding of points in the unit square."""
        angles = 2 * math.pi * (2 * xy - 1) @ self.weights["shared_image_embedding.positional_embedding"]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def upscale(self, name, x):
        """Return x at twice the size, by the named transposed convolution."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.conv_transpose2d(x, weight, bias, stride=2)

    def mlp(self, name, x):
        """Return the named network of three layers applied to x."""
        for layer in ("proj_in", "layers.0"):
            x = torch.relu(self.linear(f"{name}.{layer}", x))
        return self.linear(f"{name}.proj_out", x)
