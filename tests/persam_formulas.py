"""PerSAM and PerSAM-F as the authors compute them, restated in float64 from the published formulas.

Nothing here calls the code under test: cells, similarity, guidance, prompts, decoder passes and boxes are
written out anew. `mistake` names another way to read the paper or to write the program.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from decoder_formulas import Restated
from PIL import Image
from torch.nn import functional

CELL_MISTAKES = ("mask 255", "mask padded only", "nearest", "half the area")
"""Wrong ways to count the subject's cells."""
MAP_MISTAKES = ("no enlarging by four", "bicubic", "aligned guidance", "z-score of cells", "softmax of S")
"""Wrong ways to the similarity or the guidance."""
PASS_MISTAKES = (
    "unit target",
    "unit features",
    "probabilities",
    "three masks first",
    "no guidance",
    "no target",
    "guided refinement",
    "no box",
    "pad beside the box",
    "no point beside",
)
"""Wrong ways to prompt the decoder."""
WEIGHT_MISTAKES = ("mean target", "residual last", "one mask first", "blend of probabilities")
"""Wrong ways to PerSAM-F."""


@dataclass
class Trace:
    """Everything that a restated run computes on the way."""

    cells: torch.Tensor | None = None
    similarity: torch.Tensor | None = None
    guidance: torch.Tensor | None = None
    logits: list[torch.Tensor] = field(default_factory=list)
    iou: list[torch.Tensor] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    boxes: list[torch.Tensor | None] = field(default_factory=list)
    mask: torch.Tensor | None = None


class PromptedDecoder(Restated):
    """Sam's decoder for points, a box and logits of an earlier pass."""

    def decode(self, embedding, coords, labels, *, box=None, mask=None, similarity=None, target=None):
        """Return the logits [4 h w] and IoU predictions [4] of all mask tokens."""
        side = embedding.features.shape[-1]
        tokens = self.prompts(embedding, coords, labels, box)
        cells = (embedding.features[0].double() + self.dense(mask)).flatten(1).T
        centre = (torch.arange(side).double() + 0.5) / side
        cells_pe = self.positions(torch.stack([centre.repeat(side), centre.repeat_interleave(side)], -1))
        guide = None if similarity is None else similarity.reshape(1, 1, -1)
        target = torch.zeros((), dtype=torch.float64) if target is None else target
        tokens, cells = self.two_way(tokens, cells, cells_pe, guide, target)
        return self.masks(tokens, cells, side), self.mlp("mask_decoder.iou_prediction_head", tokens[0])

    def prompts(self, embedding, coords, labels, box):
        """Return output tokens, points, and either the box's corners or the point that is none."""
        (height, width), (input_height, input_width) = embedding.size, embedding.input_size
        scale = torch.tensor([input_width / width, input_height / height], dtype=torch.float64)

        def encoded(xy):
            return self.positions((((xy.double() * scale).float() + 0.5) / self.length).double())

        kinds = [self.weights[f"prompt_encoder.point_embed.{label}.weight"] for label in labels]
        first = [self.weights[f"mask_decoder.{name}.weight"] for name in ("iou_token", "mask_tokens")]
        tokens = [*first, encoded(coords) + torch.cat(kinds)]
        if box is not None:
            corners = [self.weights[f"prompt_encoder.point_embed.{kind}.weight"] for kind in (2, 3)]
            tokens.append(encoded(box.reshape(2, 2)) + torch.cat(corners))
        if box is None or self.pads_beside_the_box:
            tokens.append(self.weights["prompt_encoder.not_a_point_embed.weight"])
        return torch.cat(tokens)

    pads_beside_the_box = False

    def dense(self, mask):
        """Return what is added to every cell: the same for all without a mask."""
        if mask is None:
            return self.weights["prompt_encoder.no_mask_embed.weight"].reshape(-1, 1, 1)
        hidden = mask.double()[None]
        for name in ("1", "2"):
            hidden = self.convolved(f"conv{name}", hidden, stride=2).permute(0, 2, 3, 1)
            hidden = self.norm(f"prompt_encoder.mask_embed.layer_norm{name}", hidden, 1e-6)
            hidden = functional.gelu(hidden.permute(0, 3, 1, 2))
        return self.convolved("conv3", hidden, stride=1)[0]

    def convolved(self, name, values, stride):
        """Return the mask embedding's named convolution of values."""
        name = f"prompt_encoder.mask_embed.{name}"
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.conv2d(values, weight, bias, stride=stride)


def resized(maps, size, mode="bilinear"):
    """Return maps [k h w] at another size."""
    return functional.interpolate(maps[None], size, mode=mode, align_corners=False)[0]


def at_photo_size(maps, embedding, length, mode="bilinear"):
    """Return maps over the padded square, [k h w], at the photo's size."""
    height, width = embedding.input_size
    return resized(resized(maps, (length, length), mode)[:, :height, :width], embedding.size, mode)


def restated_cells(embedding, mask, length, mistake=""):
    """Return which cells are subject, pixel by pixel: bool [gh gw]."""
    height, width = embedding.input_size
    rows, columns = embedding.features.shape[2:]
    value = 255 if mistake == "mask 255" else 128
    way = Image.Resampling.NEAREST if mistake == "nearest" else Image.Resampling.BILINEAR
    red = np.zeros((length, length))
    small = Image.fromarray(np.where(mask, value, 0).astype(np.uint8)).resize((width, height), way)
    # Padding is added after the mean is taken off: it counts as the mean.
    threshold = 0.0 if mistake == "mask padded only" else 123.675
    red[:height, :width] = np.asarray(small, float) - threshold
    cells = torch.zeros(rows, columns, dtype=torch.bool)
    side = length // rows
    for i in range(rows):
        for j in range(columns):
            cell = red[i * side : (i + 1) * side, j * side : (j + 1) * side]
            middle = slice(side // 2 - 1, side // 2 + 1)
            cells[i, j] = bool(cell[middle, middle].sum() > 0)
            if mistake == "half the area":
                cells[i, j] = bool((cell + threshold).mean() >= value / 2)
    return cells


def subject_vector(references, length, mistake="", *, half_maximum=False):
    """Return T, or half maximum and half mean, over the cells of all (embedding, mask)."""
    pooled = []
    for embedding, mask in references:
        cells = restated_cells(embedding, mask, length, mistake)
        pooled.append(embedding.features[0].double()[:, cells])
    features = torch.cat(pooled, dim=1)
    mean = features.sum(dim=1) / features.shape[1]
    return (features.max(dim=1).values + mean) / 2 if half_maximum else mean


def restated_similarity(embedding, vector, length, mistake=""):
    """Return S at the photo's size, and before it is enlarged."""
    features = embedding.features[0].double()
    cosine = (vector / vector.pow(2).sum().sqrt()) @ (features / features.pow(2).sum(0).sqrt()).flatten(1)
    cosine = cosine.reshape(1, *features.shape[1:])
    mode = "bicubic" if mistake == "bicubic" else "bilinear"
    times_four = [4 * count for count in cosine.shape[1:]]
    enlarged = cosine if mistake == "no enlarging by four" else resized(cosine, times_four, mode)
    return at_photo_size(enlarged, embedding, length, mode)[0], cosine[0]


def restated_guidance(similarity, cosine, embedding, length, mistake=""):
    """Return σ of the z-score over the photo, squeezed onto the whole grid."""
    z_score = (similarity - similarity.mean()) / similarity.std()
    if mistake == "z-score of cells":
        return torch.sigmoid((cosine - cosine.mean()) / cosine.std())
    if mistake == "aligned guidance":
        height, width = embedding.input_size
        inside = resized(z_score[None], (height, width))
        z_score = functional.pad(inside, (0, length - width, 0, length - height))[0]
    squeezed = resized(z_score[None], cosine.shape)[0]
    if mistake == "softmax of S":
        return torch.softmax(squeezed.flatten(), 0).reshape(cosine.shape)
    return torch.sigmoid(squeezed)


def extreme_pixels(similarity):
    """Return (x, y) of the largest and of the smallest value, the first of equals."""
    width = similarity.shape[1]
    values = similarity.flatten().tolist()
    numbers = [values.index(max(values)), values.index(min(values))]
    return torch.tensor([[n % width, n // width] for n in numbers], dtype=torch.float64)


def box_of(mask):
    """Return XYXY of a mask's pixels, both corners inside."""
    y, x = mask.nonzero().T
    return torch.stack([x.min(), y.min(), x.max(), y.max()]).double()


def restated_persam(segmenter, references, embedding, mistake=""):
    """Return the trace of PerSAM on a photo; `references` are pairs (embedding, mask)."""
    decoder, length = PromptedDecoder(segmenter, mistake), segmenter.input_length
    decoder.pads_beside_the_box = mistake == "pad beside the box"
    target = subject_vector(references, length, mistake)
    trace = Trace(cells=restated_cells(*references[0], length, mistake))
    trace.similarity, cosine = restated_similarity(embedding, target, length, mistake)
    trace.guidance = restated_guidance(trace.similarity, cosine, embedding, length, mistake)
    coords, labels = extreme_pixels(trace.similarity), [1, 0]
    if mistake == "no point beside":
        coords, labels = coords[:1], [1]
    seen = embedding
    if mistake == "unit features":
        features = embedding.features.double()
        seen = type(embedding)(features / features.norm(dim=1, keepdim=True), *_sizes(embedding))
    guide = {
        "similarity": None if mistake == "no guidance" else trace.guidance,
        "target": None if mistake == "no target" else target,
    }
    if mistake == "unit target":
        guide["target"] = target / target.norm()
    logits, iou = decoder.decode(seen, coords, labels, **guide)
    first = 1 if mistake == "three masks first" else 0
    _record(trace, logits[first : first + 1], iou[first : first + 1], 0, None)
    given = logits[first : first + 1]
    given = given.sigmoid() if mistake == "probabilities" else given
    again = guide if mistake == "guided refinement" else {}
    _refined(trace, decoder, seen, (coords, labels), None, given, again, mistake)
    return trace


def restated_persam_f(segmenter, references, weights, embedding, mistake=""):
    """Return the trace of PerSAM-F on a photo, with given weights of SAM's three masks."""
    decoder, length = PromptedDecoder(segmenter), segmenter.input_length
    vector = subject_vector(references, length, half_maximum=mistake != "mean target")
    trace = Trace(cells=restated_cells(*references[0], length))
    trace.similarity, _ = restated_similarity(embedding, vector, length)
    coords, labels = extreme_pixels(trace.similarity)[:1], [1]
    logits, iou = decoder.decode(embedding, coords, labels)
    logits, iou = logits[1:], iou[1:]
    weights = weights.double()
    weights = weights[[1, 2, 0]] if mistake == "residual last" else weights
    if mistake == "one mask first":
        weights = functional.one_hot(iou.argmax(), 3).double()
    _record(trace, logits, iou, int(weights.argmax()), None)
    large = at_photo_size(logits, embedding, length)
    if mistake == "blend of probabilities":
        large, logits = large.sigmoid() - 0.5, logits.sigmoid() - 0.5
    mask = torch.einsum("k,khw->hw", weights, large) > 0
    blend = torch.einsum("k,khw->hw", weights, logits)[None]
    _refined(trace, decoder, embedding, (coords, labels), box_of(mask), blend, {}, mistake)
    return trace


def _refined(trace, decoder, embedding, points, box, given, guide, mistake):
    """Add the two refinements to the trace."""
    for _ in range(2):
        prompt = None if mistake == "no box" else box
        logits, iou = decoder.decode(embedding, *points, box=prompt, mask=given, **guide)
        best = int(np.argmax(iou[1:].numpy()))
        _record(trace, logits[1:], iou[1:], best, prompt)
        given = logits[1:][best : best + 1]
        trace.mask = at_photo_size(given, embedding, decoder.length)[0] > 0
        box = box_of(trace.mask)
        given = given.sigmoid() if mistake == "probabilities" else given


def _record(trace, logits, iou, chosen, box):
    """Add a pass to the trace."""
    trace.logits.append(logits)
    trace.iou.append(iou)
    trace.chosen.append(chosen)
    trace.boxes.append(box)


def _sizes(embedding):
    """Return the embedding's sizes, in the order of its fields."""
    return embedding.size, embedding.input_size
