"""Segments as things that could be the subject, beside or instead of SAM's automatic masks.

A segment's outline is right to a cell of the latents; SAM, asked with the segment as mask and box, draws it
anew. Where SAM has something else in mind (IoU below KEPT_IOU), the segment stays as it is.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persam_dreambooth.masks.confidence import stability
from persam_dreambooth.masks.diffseg.nouns import columns_of, likeness_map, prompt_for
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
from persam_dreambooth.masks.diffseg.subject import choose, cleaned
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.automatic import AutomaticMask
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

KEPT_IOU = 0.7
"""What SAM makes of a segment must overlap it so much to take its place."""

# As SAM's own low-resolution logits are far from the outline.
_SURE = 10.0


@dataclass(eq=False)
class DiffSegThings:
    """What DiffSeg sees in the photos of an album.

    Attributes:
        diffseg: the model.
        noun: what the subject is called; None without a word.
        with_sam: whether SAM's automatic masks are candidates as well.
    """

    diffseg: DiffSeg
    noun: str | None
    with_sam: bool
    _likeness: dict[str, Float[np.ndarray, "h w"] | None] = field(default_factory=dict)

    def things(self, segmenter: Segmenter, photo: Photo, small: Embedding) -> list[AutomaticMask]:
        """Return the segments of a photo, and what the rule takes for the subject, as things.

        Args:
            segmenter: the model that made the embedding.
            photo: of the album.
            small: the photo's embedding, as of a smaller photo.
        """
        prompt = None if self.noun is None else prompt_for(self.noun)
        segments = self.diffseg.segment(photo.pixels, prompt, name=str(photo.path))
        likeness = None
        if segments.of_tokens:
            columns = columns_of(self.diffseg.models, prompt, self.noun)
            likeness = likeness_map(segments, columns, small.size)
        self._likeness[photo.stem] = likeness
        labels = segments.labels(small.size)
        choice = choose(labels, likeness)
        sets = [choice.chosen, *((number,) for number in choice.scores if (number,) != choice.chosen)]
        masks = [cleaned(np.isin(labels, numbers)) for numbers in sets if numbers]
        return [thing_of(segmenter, small, mask) for mask in masks]

    def prior(self, photo: Photo, mask: Bool[np.ndarray, "h w"]) -> dict[str, float]:
        """Return how much a thing looks at the noun, against the rest of its photo; nothing without a noun.

        Args:
            photo: of which `things` were asked.
            mask: of a thing, SAM's or DiffSeg's.
        """
        likeness = self._likeness[photo.stem]
        if likeness is None:
            return {}
        inside = float(likeness[mask].mean())
        return {"noun": inside / (inside + float(likeness[~mask].mean()) + 1e-6)}


def thing_of(segmenter: Segmenter, small: Embedding, mask: Bool[np.ndarray, "h w"]) -> AutomaticMask:
    """Return a segment as SAM draws it, or as it is where SAM draws something else.

    Args:
        segmenter: the model that made the embedding.
        small: the photo's embedding, of the mask's size.
        mask: the segment, not empty.
    """
    y, x = np.nonzero(mask)
    box = (int(x.min()), int(y.min()), int(x.max()), int(y.max()))
    own = low_res_logits(segmenter, small, mask)
    decoded = segmenter.decode(
        small, box=torch.tensor(box).float(), mask_input=own[None], multimask_output=False
    )
    logits = segmenter.mask_logits(decoded.low_res_logits, small)
    drawn = (logits[0] > 0).cpu().numpy()
    overlap = float((drawn & mask).sum() / max(1, (drawn | mask).sum()))
    kept = overlap >= KEPT_IOU
    return AutomaticMask(
        mask=drawn if kept else mask,
        box=box,
        # Of its own outline SAM says nothing; that it sees another thing there is no praise.
        iou_prediction=float(decoded.iou_predictions[0]) * (1.0 if kept else overlap),
        stability=stability(decoded.low_res_logits[0]),
        point_coords=(float(x.mean()), float(y.mean())),
        crop_box=(0, 0, small.size[1], small.size[0]),
        low_res_logits=(decoded.low_res_logits[0] if kept else own).cpu(),
    )


def low_res_logits(
    segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "h w"]
) -> Float[Tensor, "lh lw"]:
    """Return a mask as SAM's own logits: sure inside, sure outside, over the model's square.

    Args:
        segmenter: whose square.
        embedding: of the mask's size; says how much of the square the photo takes up.
        mask: True on a thing.
    """
    side = 4 * embedding.features.shape[-1]
    height, width = embedding.size
    whole = torch.full((side, side), -_SURE, device=segmenter.device)
    if segmenter.family.pads:
        part = [round(side * length / segmenter.input_length) for length in embedding.input_size]
    else:
        part = [side, side]
    rows = ((np.arange(part[0]) + 0.5) * height / part[0]).astype(int)
    columns = ((np.arange(part[1]) + 0.5) * width / part[1]).astype(int)
    shown = torch.from_numpy(mask[rows[:, None], columns]).to(segmenter.device)
    whole[: part[0], : part[1]] = torch.where(shown, _SURE, -_SURE)
    return whole
