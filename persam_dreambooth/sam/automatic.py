"""Everything in a photo that SAM takes for a thing: masks for each click of a grid, less the doubtful ones.

The same masks as segment-anything's SamAutomaticMaskGenerator, for any Segmenter, with the same parameters
and defaults. Masks are kept as small logits until duplicates are gone, so that memory does not grow with the
photo times the clicks.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from persam_dreambooth.sam.crops import Crop, crop_boxes, cut_off, point_grid
from persam_dreambooth.sam.mask_selection import mask_boxes, non_maximum_suppression, stability_score
from persam_dreambooth.sam.regions import without_small_regions
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# How many logits are enlarged at a time: 64 MiB of float32.
_ENLARGED_AT_ONCE = 2**24


@dataclass(frozen=True, kw_only=True)
class AutomaticParameters:
    """segment-anything's parameters under its names; its defaults suit ViT-H."""

    points_per_side: int | None = 32
    """Clicks along each side of the grid; None where `point_grids` is given."""
    points_per_batch: int = 64
    """Clicks decoded at a time."""
    pred_iou_thresh: float = 0.88
    """SAM's own guess of a mask's IoU must be above this."""
    stability_score_thresh: float = 0.95
    """Least IoU of the mask with itself at a higher and a lower threshold."""
    stability_score_offset: float = 1.0
    """How far these two thresholds are from 0, in logits."""
    box_nms_thresh: float = 0.7
    """Of two masks whose boxes overlap by more than this IoU, the likelier stays."""
    crop_n_layers: int = 0
    """Layers of crops besides the whole photo; layer i has 2^i crops along each side."""
    crop_nms_thresh: float = 0.7
    """As `box_nms_thresh`, between crops; the mask of the smaller crop stays."""
    crop_overlap_ratio: float = 512 / 1500
    """Overlap of the first layer's crops, as a share of the photo's shorter side; later layers have less."""
    crop_n_points_downscale_factor: int = 1
    """The grid of layer n has this to the power of n times fewer clicks a side."""
    point_grids: tuple[Float[np.ndarray, "n 2"], ...] | None = None
    """Clicks (x, y) in [0, 1] for each layer, instead of a regular grid."""
    min_mask_region_area: int = 0
    """Holes and loose pieces smaller than this, in pixels, are removed."""

    def __post_init__(self) -> None:
        """Check the pair that excludes each other, and that every layer has its grid."""
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError("points_per_side, point_grids: exactly one of the two is needed")
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise ValueError(f"point_grids: {len(self.point_grids)} for {self.crop_n_layers + 1} layers")


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One thing in a photo."""

    mask: Bool[np.ndarray, "H W"]
    """True on the thing, at the photo's size."""
    box: tuple[int, int, int, int]
    """XYXY in pixels, both corners inside."""
    iou_prediction: float
    """SAM's own guess of the mask's IoU with the truth."""
    stability: float
    """IoU of the mask at a higher and a lower threshold, 0 to 1."""
    point_coords: tuple[float, float]
    """The click (x, y) in pixels."""
    crop_box: Crop
    """XYXY of the part of the photo that SAM saw, the second corner outside."""
    low_res_logits: Float[Tensor, "h w"]
    """What the mask was made of, over the crop."""

    @property
    def area(self) -> int:
        """The mask's pixels."""
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Masks of one crop before they are drawn; one row each."""

    low_res_logits: Float[Tensor, "n h w"]
    iou_predictions: Float[Tensor, " n"]
    stabilities: Float[Tensor, " n"]
    boxes: Int[Tensor, "n 4"]
    points: Float[Tensor, "n 2"]

    def rows(self, keep: Tensor) -> "_Candidates":
        """Return only these rows; a boolean for each, or their numbers."""
        return _Candidates(
            self.low_res_logits[keep],
            self.iou_predictions[keep],
            self.stabilities[keep],
            self.boxes[keep],
            self.points[keep],
        )


DEFAULTS = AutomaticParameters()


def automatic_masks(
    segmenter: Segmenter,
    embedding: Embedding,
    parameters: AutomaticParameters = DEFAULTS,
    *,
    pixels: UInt8[np.ndarray, "H W 3"] | None = None,
) -> list[AutomaticMask]:
    """Return the things of a photo, the likeliest first (with crops: those of the smallest crops first).

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        parameters: as segment-anything's.
        pixels: the photo, RGB, 0 to 255; needed for crops, which are encoded here.

    Raises:
        ValueError: crops are asked for without the photo.

    Source: segment-anything, automatic_mask_generator.py.
    """
    if parameters.crop_n_layers > 0 and pixels is None:
        raise ValueError("crop_n_layers: crops need the photo's pixels")
    found = []
    crops = crop_boxes(embedding.size, parameters.crop_n_layers, parameters.crop_overlap_ratio)
    for crop, layer in crops:
        x0, y0, x1, y1 = crop
        view = embedding if layer == 0 else segmenter.encode(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
        found += _masks_of_crop(segmenter, view, crop, layer, embedding.size, parameters)
    if len(crops) > 1:
        areas = torch.tensor([_area(mask.crop_box) for mask in found], dtype=torch.float32)
        found = _kept(found, 1 / areas, parameters.crop_nms_thresh)
    if parameters.min_mask_region_area > 0:
        found = _tidied(found, parameters)
    return found


def _masks_of_crop(
    segmenter: Segmenter,
    view: Embedding,
    crop: Crop,
    layer: int,
    size: tuple[int, int],
    parameters: AutomaticParameters,
) -> list[AutomaticMask]:
    """Return the things seen in one crop, in the photo's pixels, without duplicates."""
    x0, y0, x1, y1 = crop
    points = torch.from_numpy(_grid(parameters, layer) * np.array([x1 - x0, y1 - y0]))
    batches = [
        part
        for batch in points.split(parameters.points_per_batch)
        for part in _candidates(segmenter, view, batch, crop, size, parameters)
    ]
    if not batches:
        return []
    names = ("low_res_logits", "iou_predictions", "stabilities", "boxes", "points")
    candidates = _Candidates(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))
    candidates = candidates.rows(
        non_maximum_suppression(
            candidates.boxes.float(), candidates.iou_predictions, parameters.box_nms_thresh
        )
    )
    return [_drawn(segmenter, view, candidates, row, crop, size) for row in range(len(candidates.boxes))]


def _grid(parameters: AutomaticParameters, layer: int) -> Float[np.ndarray, "n 2"]:
    """Return a layer's clicks in [0, 1]."""
    if parameters.point_grids is not None:
        return parameters.point_grids[layer]
    return point_grid(int(parameters.points_per_side / parameters.crop_n_points_downscale_factor**layer))


def _candidates(
    segmenter: Segmenter,
    view: Embedding,
    points: Float[Tensor, "n 2"],
    crop: Crop,
    size: tuple[int, int],
    parameters: AutomaticParameters,
) -> list[_Candidates]:
    """Return the masks of some clicks that are likely, stable and not cut off by the crop."""
    decoded = segmenter.decode_points(view, points)
    points = points.repeat_interleave(decoded.iou_predictions.shape[1], dim=0)
    logits, ious = decoded.low_res_logits.flatten(0, 1), decoded.iou_predictions.flatten()
    if parameters.pred_iou_thresh > 0:
        likely = ious > parameters.pred_iou_thresh
        logits, ious, points = logits[likely], ious[likely], points[likely.cpu()]
    at_once = max(1, _ENLARGED_AT_ONCE // max(view.size[0] * view.size[1], segmenter.input_length**2))
    found = []
    for start in range(0, len(ious), at_once):
        part = slice(start, start + at_once)
        mask_logits = segmenter.mask_logits(logits[part], view)
        stability = stability_score(mask_logits, parameters.stability_score_offset).cpu()
        boxes = mask_boxes(mask_logits > 0).cpu()
        keep = ~cut_off(boxes, crop, size)
        if parameters.stability_score_thresh > 0:
            keep &= stability >= parameters.stability_score_thresh
        rows = _Candidates(logits[part].cpu(), ious[part].cpu(), stability, boxes, points[part])
        found.append(rows.rows(keep))
    return found


def _drawn(
    segmenter: Segmenter,
    view: Embedding,
    candidates: _Candidates,
    row: int,
    crop: Crop,
    size: tuple[int, int],
) -> AutomaticMask:
    """Return one candidate as a mask of the whole photo."""
    x0, y0, x1, y1 = crop
    logits = candidates.low_res_logits[row]
    mask = np.zeros(size, bool)
    on_device = logits[None].to(view.features.device)
    mask[y0:y1, x0:x1] = (segmenter.mask_logits(on_device, view)[0] > 0).cpu().numpy()
    left, top, right, bottom = candidates.boxes[row].tolist()
    x, y = candidates.points[row].tolist()
    return AutomaticMask(
        mask=mask,
        box=(left + x0, top + y0, right + x0, bottom + y0),
        iou_prediction=float(candidates.iou_predictions[row]),
        stability=float(candidates.stabilities[row]),
        point_coords=(x + x0, y + y0),
        crop_box=crop,
        low_res_logits=logits,
    )


def _tidied(found: list[AutomaticMask], parameters: AutomaticParameters) -> list[AutomaticMask]:
    """Return the masks without small holes and pieces, nor the duplicates that this makes."""
    tidied, unchanged = [], []
    for thing in found:
        mask, changed = without_small_regions(thing.mask, parameters.min_mask_region_area)
        box = tuple(mask_boxes(torch.from_numpy(mask)[None])[0].tolist())
        unchanged.append(float(not changed))
        tidied.append(replace(thing, mask=mask, box=box))
    # Masks that needed no repair are preferred.
    thresh = max(parameters.box_nms_thresh, parameters.crop_nms_thresh)
    return _kept(tidied, torch.tensor(unchanged), thresh)


def _kept(
    found: list[AutomaticMask], scores: Float[Tensor, " n"], iou_threshold: float
) -> list[AutomaticMask]:
    """Return the masks that no better one overlaps, the best first."""
    boxes = torch.tensor([thing.box for thing in found], dtype=torch.float32).reshape(-1, 4)
    return [found[row] for row in non_maximum_suppression(boxes, scores, iou_threshold)]


def _area(box: Crop) -> int:
    """Return the area of a box, in pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
