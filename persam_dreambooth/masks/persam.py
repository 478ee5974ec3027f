"""PerSAM: find the subject of one masked photo in other photos, without training.

The formulas are those of the authors' program, which differ from the paper's in places; where they do, the
docstring says so. Symbols: F the features of a photo, R those of the subject's cells, T their mean, S the
similarity, p⁺ and p⁻ the most and the least similar pixel.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter, bilinear, preprocess

_REMEDY = (
    "Remove the photo, or put a mask of your own beside it, named like the photo but ending in .mask.png."
)


@dataclass(frozen=True, eq=False)
class Target:
    """What PerSAM remembers of the subject."""

    direction: Float[Tensor, " c"]
    """t: unit vector that features are compared with."""
    target_embedding: Float[Tensor, " c"]
    """T: mean feature of the subject, not normalised."""


@dataclass(frozen=True, eq=False)
class FoundMask:
    """The subject in one photo, and the prompts that found it."""

    mask: Bool[Tensor, "H W"]
    point_coords: Float[Tensor, "n 2"]
    """(x, y) in pixels."""
    point_labels: Int[Tensor, " n"]
    """1 on the subject, 0 beside it."""
    box: Float[Tensor, " 4"]
    """XYXY in pixels, of the last pass; both corners inside."""
    iou_prediction: float
    """SAM's own guess of this mask's IoU with the truth."""
    mask_weights: tuple[float, float, float] | None = None
    """PerSAM-F's weights of SAM's three masks."""


def fit(segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "H W"], mask_name: str) -> Target:
    """Return what is to be remembered of the subject under a mask.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded reference photo.
        mask: True on the subject, at the photo's size.
        mask_name: the mask's file, for the error text.

    Raises:
        UserError: the subject is smaller than a cell of the feature grid.
    """
    features = subject_features(segmenter, embedding, mask, mask_name)
    target_embedding = features.mean(dim=0)
    return Target(unit(target_embedding), target_embedding)


def find(segmenter: Segmenter, embedding: Embedding, target: Target, photo_name: str) -> FoundMask:
    """Return the mask of the remembered subject in an encoded photo, after three passes of the decoder.

    The first is guided: prompted with p⁺ and p⁻ and with T, its attention tilted towards what is similar.

    Raises:
        UserError: SAM has no mask that is neither empty nor full; the text names the photo.
    """
    similarity = similarity_map(segmenter, embedding, target.direction)
    point_coords = torch.stack(
        [pixel_of(similarity.argmax(), similarity), pixel_of(similarity.argmin(), similarity)]
    )
    point_labels = torch.tensor([1, 0])
    guided = segmenter.decode(
        embedding,
        point_coords=point_coords,
        point_labels=point_labels,
        multimask_output=False,
        attention_similarity=guidance_map(similarity, embedding),
        target_embedding=target.target_embedding,
    )
    return refine(
        segmenter,
        embedding,
        point_coords,
        point_labels,
        box=None,
        mask_input=guided.low_res_logits,
        photo_name=photo_name,
    )


def subject_cells(
    segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "H W"]
) -> Bool[Tensor, "gh gw"]:
    """Return which cells of the feature grid are subject.

    The mask takes the photo's way into the model, normalisation included, with 255 for the subject; a cell is
    subject where the mean of the four mask pixels around its centre then exceeds the red channel's mean,
    123.675. The padding counts as that mean, so that it decides nothing.

    Source: persam.py, which sends the mask through Sam.preprocess.
    """
    pixels = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    red = preprocess(pixels, segmenter.input_length)[0, :1]
    return bilinear(red, _grid(embedding))[0] > 0


def subject_features(
    segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "H W"], mask_name: str
) -> Float[Tensor, "n c"]:
    """Return the features R of the subject's cells, not normalised.

    Raises:
        UserError: no cell is subject.
    """
    cells = subject_cells(segmenter, embedding, mask)
    if not cells.any():
        rows, columns = cells.shape
        raise UserError(
            f"{mask_name}: the subject ({int(mask.sum()):,} of {mask.size:,} pixels) is too small for the "
            f"model, which sees the photo as {columns} x {rows} cells; at least one cell must be subject. "
            "Give a reference in which it is larger."
        )
    return embedding.features[0].permute(1, 2, 0)[cells.to(embedding.features.device)]


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


def guidance_map(similarity: Float[Tensor, "H W"], embedding: Embedding) -> Float[Tensor, "gh gw"]:
    """Return the similarity as guidance of the decoder's attention: σ of its z-score, 0 to 1 for each cell.

    The authors squeeze the photo onto the whole grid, although the grid covers the padded square: where a
    photo is not square, the guidance is shifted against the features. Kept as it is, for equal results.
    """
    z_score = (similarity - similarity.mean()) / similarity.std()
    return torch.sigmoid(bilinear(z_score[None], _grid(embedding))[0])


def refine(
    segmenter: Segmenter,
    embedding: Embedding,
    point_coords: Float[Tensor, "n 2"],
    point_labels: Int[Tensor, " n"],
    *,
    box: Float[Tensor, " 4"] | None,
    mask_input: Float[Tensor, "1 h w"],
    photo_name: str,
) -> FoundMask:
    """Return the mask after two more passes, each fed with the logits before it, the last with their box.

    Each pass keeps, of SAM's three masks, the one that it believes in most of those that can be a subject:
    neither empty nor the whole photo. Where the second pass has none, the first one's mask stays.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        point_coords: (x, y) in the photo's pixels.
        point_labels: 1 on the subject, 0 beside it.
        box: XYXY in the photo's pixels for the first of the two passes, or None.
        mask_input: logits of the pass before.
        photo_name: the photo's file, for the error text.

    Raises:
        UserError: the first of the two passes has no mask that can be used.
    """
    found = None
    for _ in range(2):
        decoded = segmenter.decode(
            embedding,
            point_coords=point_coords,
            point_labels=point_labels,
            box=box,
            mask_input=mask_input,
        )
        best = likeliest_usable(segmenter, embedding, decoded)
        if best is None:
            break
        mask_input = decoded.low_res_logits[best : best + 1]
        mask = segmenter.mask_logits(mask_input, embedding)[0] > 0
        found = FoundMask(mask, point_coords, point_labels, box, float(decoded.iou_predictions[best]))
        box = tight_box(mask)
    if found is None:
        raise not_found(photo_name)
    return found


def likeliest_usable(segmenter: Segmenter, embedding: Embedding, decoded: Decoded) -> int | None:
    """Return which of SAM's masks it believes in most, of those neither empty nor full; None if none is.

    The authors take the likeliest whatever it holds, and crash on an empty one.
    """
    areas = (segmenter.mask_logits(decoded.low_res_logits, embedding) > 0).float().mean(dim=(1, 2))
    usable = (areas > 0) & (areas < 1)
    if not usable.any():
        return None
    return int(decoded.iou_predictions.masked_fill(~usable, -torch.inf).argmax())


def not_found(photo_name: str) -> UserError:
    """Return the error that says that no mask of a photo can be used."""
    return UserError(
        f"{photo_name}: the subject was not found (each mask is empty or covers the whole photo); "
        f"every photo needs a mask. {_REMEDY}"
    )


def tight_box(mask: Bool[Tensor, "H W"]) -> Float[Tensor, " 4"]:
    """Return XYXY of a mask's extent in pixels: the first and last column and row of it, no margin.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no box")
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return torch.stack([columns[0], rows[0], columns[-1], rows[-1]]).flatten().float().cpu()


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
