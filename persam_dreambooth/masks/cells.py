"""What a photo's pixels and a model's cells say of each other: the subject's cells, similarity, guidance.

SAM sees a photo as a grid of cells, each with a feature; where a photo is not square, part of the grid is
padding. Symbols: F the features of a photo, R those of the subject's cells, S the similarity.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam.py. With
`compat` a function computes what that program computes, to the bit; without, what it means to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, grid_sample, pad

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam.segmenter import Embedding, Segmenter, bilinear

# Red value of the subject in PerSeg's masks, the authors' data set, and the mean red of ImageNet, which their
# program subtracts from a mask as from a photo before it asks what is above zero.
PERSEG_RED = 128
MEAN_RED = 123.675


@dataclass(frozen=True, eq=False)
class Reference:
    """An encoded photo on which the subject is marked."""

    embedding: Embedding
    mask: Bool[np.ndarray, "H W"]
    """True on the subject, at the photo's size."""
    name: str
    """The mask's file, for error texts."""
    pixels: UInt8[np.ndarray, "H W 3"] | None = None
    """The photo, where colours are to be compared."""


def subject_cells(
    segmenter: Segmenter,
    embedding: Embedding,
    mask: Bool[np.ndarray, "H W"],
    *,
    compat: bool = False,
    red: int = PERSEG_RED,
) -> Bool[Tensor, "gh gw"]:
    """Return which cells of the feature grid are subject: those of which the subject covers at least half.

    With `compat` the mask goes the authors' way: its subject has the given red value, it is resized and
    normalised like a photo, and a cell is subject where the four pixels around its middle then have a mean
    above zero. 128 is so little above the mean red that all four must be subject, an erosion (of 215, three
    of four); pixels in the padding have no say, so that a cell cut by the photo's edge is judged by what is
    inside.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        mask: True on the subject, at the photo's size.
        compat: count as the authors do.
        red: 0 to 255, of the subject in the authors' masks; it matters with `compat` only.

    Source: persam.py, which sends the mask through Sam.preprocess.
    """
    height, width = embedding.input_size
    grey = Image.fromarray(np.where(mask, red if compat else PERSEG_RED, 0).astype(np.uint8))
    resized = np.array(grey.resize((width, height), Image.Resampling.BILINEAR))
    reds = torch.from_numpy(resized).float()[None]
    missing = (0, segmenter.input_length - width, 0, segmenter.input_length - height)
    if compat:
        return bilinear(pad(reds - MEAN_RED, missing), _grid(embedding))[0] > 0
    return adaptive_avg_pool2d(pad(reds / PERSEG_RED, missing), _grid(embedding))[0] >= 0.5


def subject_features(
    segmenter: Segmenter, references: Sequence[Reference], *, compat: bool = False
) -> Float[Tensor, "n c"]:
    """Return the features R of the subject's cells in all references, not normalised.

    Args:
        segmenter: the model that made the embeddings.
        references: at least one.
        compat: count cells as the authors do.

    Raises:
        UserError: a reference has no cell that is subject.
    """
    pooled = []
    for reference in references:
        cells = subject_cells(segmenter, reference.embedding, reference.mask, compat=compat)
        if not cells.any():
            raise _too_small(reference, cells)
        features = reference.embedding.features[0].permute(1, 2, 0)
        pooled.append(features[cells.to(features.device)])
    return torch.cat(pooled)


def similarity_map(
    segmenter: Segmenter, embedding: Embedding, direction: Float[Tensor, " c"]
) -> Float[Tensor, "H W"]:
    """Return S, the cosine of each cell's features with a unit vector, at the photo's size.

    The unit vector is that of the mean feature, not the mean of unit vectors as in the paper's equation 6.
    Brought up in three bilinear steps, like a mask: times four, to the padded square, to the photo. A single
    step moves S by several percent.
    """
    features = embedding.features[0]
    cosine = torch.einsum("c,chw->hw", direction, features / features.norm(dim=0, keepdim=True))
    rows, columns = cosine.shape
    return segmenter.mask_logits(bilinear(cosine[None], (4 * rows, 4 * columns)), embedding)[0]


def guidance_map(
    segmenter: Segmenter, embedding: Embedding, similarity: Float[Tensor, "H W"], *, compat: bool = False
) -> Float[Tensor, "gh gw"]:
    """Return the similarity as guidance of the decoder's attention: σ of its z-score, 0 to 1 for each cell.

    The z-score is taken over the photo's pixels and read where the middle of each cell lies in the photo;
    cells whose middle lies in the padding get the photo's least value, for no subject is there. With `compat`
    the photo is squeezed onto the whole grid as the authors do, so that guidance and features are shifted
    against each other where a photo is not square; where it is, both ways are the same.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        similarity: S, at the photo's size.
        compat: squeeze as the authors do.
    """
    z_score = (similarity - similarity.mean()) / similarity.std()
    if compat:
        return torch.sigmoid(bilinear(z_score[None], _grid(embedding))[0])
    y, x = (
        (torch.arange(count).to(z_score) + 0.5) * segmenter.input_length / (count * length)
        for count, length in zip(_grid(embedding), embedding.input_size, strict=True)
    )
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1) * 2 - 1
    seen = grid_sample(z_score[None, None], places[None], padding_mode="border", align_corners=False)[0, 0]
    inside = (y < 1)[:, None] & (x < 1)
    return torch.sigmoid(torch.where(inside, seen, z_score.min()))


def pixel_of(index: Int[Tensor, ""], picture: Float[Tensor, "H W"]) -> Float[Tensor, " 2"]:
    """Return (x, y) of the pixel with this number, counted row by row."""
    number, width = int(index), picture.shape[1]
    return torch.tensor([number % width, number // width], dtype=torch.float32)


def unit(vector: Float[Tensor, " c"]) -> Float[Tensor, " c"]:
    """Return the vector divided by its Euclidean length."""
    return vector / vector.norm()


def _grid(embedding: Embedding) -> tuple[int, int]:
    """Return (rows, columns) of the feature grid."""
    return embedding.features.shape[2], embedding.features.shape[3]


def _too_small(reference: Reference, cells: Bool[Tensor, "gh gw"]) -> UserError:
    """Return the error for a subject that no cell belongs to."""
    rows, columns = cells.shape
    return UserError(
        f"{reference.name}: the subject ({int(reference.mask.sum()):,} of {reference.mask.size:,} pixels) is "
        f"too small for the model, which sees the photo as {columns} x {rows} cells; at least one cell must "
        "be subject. Give a reference in which it is larger."
    )
