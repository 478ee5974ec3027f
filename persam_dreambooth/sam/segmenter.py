"""Segment Anything in two calls: encode a photo once, decode it with as many prompts as are needed.

The same calls for every SAM that transformers has, and for the original's checkpoints. Grids and sizes come
from the model, never from here: SAM's 1024 px and 64 x 64 cells are one case among others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import PreTrainedModel

from persam_dreambooth.devices import device_named
from persam_dreambooth.sam.families import family_of
from persam_dreambooth.sam.guided_attention import can_be_guided, persam_decoding
from persam_dreambooth.sam.loading import load_model, model_digest
from persam_dreambooth.sam.original import sam_from_original
from persam_dreambooth.sam.preprocessing import bilinear, preprocess, resized_size

__all__ = [
    "Decoded",
    "DecodedPoints",
    "Embedding",
    "Segmenter",
    "bilinear",
    "model_digest",
    "preprocess",
    "resized_size",
]


@dataclass(frozen=True, eq=False)
class Embedding:
    """One encoded photo."""

    features: Float[Tensor, "1 c gh gw"]
    """What the image encoder says of each cell of the square; not normalised."""
    size: tuple[int, int]
    """(height, width) of the photo, in pixels."""
    input_size: tuple[int, int]
    """(height, width) that the photo takes up of the model's square, in the model's pixels."""
    fine_features: tuple[Tensor, ...] = ()
    """What the decoder takes beside the features: the two finer levels of Sam2, an early layer of SamHQ."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the mask decoder says to one set of prompts: three masks of different extent, or one."""

    low_res_logits: Float[Tensor, "k h w"]
    """Unthresholded scores over the square, four to a cell's side; subject where positive."""
    iou_predictions: Float[Tensor, " k"]
    """The model's own guess of each mask's IoU with the truth, about 0 to 1."""


@dataclass(frozen=True, eq=False)
class DecodedPoints:
    """What the mask decoder says to n clicks, each by itself: three masks each."""

    low_res_logits: Float[Tensor, "n 3 h w"]
    iou_predictions: Float[Tensor, "n 3"]


class Segmenter:
    """A SAM that stays loaded. Everything is computed without gradients, and in float32 unless asked.

    Args:
        model: a SamModel, SamHQModel, Sam2Model, Sam3TrackerModel or EdgeTamModel of transformers.
        device: where it computes.
        encoder_dtype: precision of the image encoder's matrix products; bfloat16 is for GPUs that are fast in
            it, and rounds the features. Weights, features and decoder stay in float32.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        device: str | torch.device = "cpu",
        *,
        encoder_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.family = family_of(model)
        self.model = model.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
        self.device = torch.device(device)
        self.encoder_dtype = encoder_dtype
        self.input_length: int = model.config.prompt_encoder_config.image_size
        """Side of the square that photos are brought to, in pixels."""

    @classmethod
    def load(
        cls,
        name_or_path: str,
        device: str | torch.device = "cpu",
        adapter: Path | None = None,
        *,
        encoder_dtype: torch.dtype = torch.float32,
    ) -> "Segmenter":
        """Load `toy` (the embedded SAM), a folder, a hub id, or an original checkpoint (.pth).

        Args:
            name_or_path: which one.
            device: where it computes.
            adapter: a file of adapt-sam's, made for this model.
            encoder_dtype: precision of the image encoder's matrix products.

        Raises:
            UserError: there is no such model or device, it is no SAM, or its weights are incomplete; the
                adapter is none, or another model's.
        """
        # Said before a model is read, which takes long.
        device = device_named(device)
        return cls(load_model(name_or_path, adapter), device, encoder_dtype=encoder_dtype)

    @classmethod
    def from_original(cls, model: nn.Module, device: str | torch.device = "cpu") -> "Segmenter":
        """Take over a live Sam of the package segment_anything; on the same device the weights are shared.

        Raises:
            UserError: the object is no such model.
        """
        return cls(sam_from_original(model), device)

    @property
    def supports_guidance(self) -> bool:
        """True where the decoder can be guided as PerSAM does: every SAM that is known here."""
        return can_be_guided(self.model.mask_decoder)

    def preprocess(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "1 3 L L"]:
        """Return a photo (RGB, 0 to 255) as this model's encoder takes it; `input_length` is its side."""
        return self.family.preprocess(pixels, self.input_length)

    def encode(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Embedding:
        """Run the image encoder, the heavy half, on one photo (RGB, 0 to 255)."""
        return self.encode_batch([pixels])[0]

    def encode_batch(self, photos: Sequence[UInt8[np.ndarray, "_h _w 3"]]) -> list[Embedding]:
        """Run the image encoder once on several photos, of any sizes: faster on a GPU, for their memory.

        Args:
            photos: RGB, 0 to 255; at least one.
        """
        pixel_values = torch.cat([self.preprocess(pixels) for pixels in photos]).to(self.device)
        with torch.no_grad(), _precision(self.device, self.encoder_dtype):
            encoded = self.family.encode(self.model, pixel_values)
        sizes = [(pixels.shape[0], pixels.shape[1]) for pixels in photos]
        return [
            Embedding(
                encoded.features[i : i + 1].float(),
                size,
                self.family.input_size(size, self.input_length),
                tuple(level[i : i + 1].float() for level in encoded.fine_features),
            )
            for i, size in enumerate(sizes)
        ]

    def decode(
        self,
        embedding: Embedding,
        *,
        point_coords: Float[Tensor, "n 2"] | None = None,
        point_labels: Int[Tensor, " n"] | None = None,
        box: Float[Tensor, " 4"] | None = None,
        mask_input: Float[Tensor, "1 h w"] | None = None,
        multimask_output: bool = True,
        attention_similarity: Float[Tensor, "gh gw"] | None = None,
        target_embedding: Float[Tensor, " c"] | None = None,
    ) -> Decoded:
        """Run the mask decoder, the light half, on one encoded photo.

        Args:
            embedding: what `encode` returned.
            point_coords: (x, y) in the photo's pixels.
            point_labels: 1 for a point on the subject, 0 for one beside it.
            box: XYXY in the photo's pixels, both corners inside the box.
            mask_input: `low_res_logits` of an earlier pass, unthresholded.
            multimask_output: three masks, for prompts that are ambiguous; otherwise the one of the mask token
                that SAM keeps for prompts that are not. Sam2 and its descendants put the best of the three in
                its place where it is unstable.
            attention_similarity: PerSAM's guidance, 0 to 1 for each cell of the square.
            target_embedding: PerSAM's mean feature of the subject, not normalised.
        """
        target = None if target_embedding is None else target_embedding.to(self.device)
        similarity = (
            None
            if attention_similarity is None
            else attention_similarity.to(self.device).reshape(1, 1, 1, -1)
        )
        with persam_decoding(
            self.model.mask_decoder, with_similarity=similarity is not None, target_embedding=target
        ):
            masks, iou = self._decode(
                embedding,
                input_points=self._to_input(point_coords, embedding),
                input_labels=None if point_labels is None else point_labels.to(self.device)[None, None],
                input_boxes=self._box_to_input(box, embedding),
                input_masks=None if mask_input is None else mask_input.to(self.device)[None],
                multimask_output=multimask_output,
                attention_similarity=similarity,
                target_embedding=target,
            )
        return Decoded(masks[0, 0], iou[0, 0])

    def decode_points(self, embedding: Embedding, point_coords: Float[Tensor, "n 2"]) -> DecodedPoints:
        """Run the mask decoder once on n clicks that have nothing to do with each other, all on a subject.

        Memory grows with n, for every click gets a copy of the photo's features.

        Args:
            embedding: what `encode` returned.
            point_coords: (x, y) in the photo's pixels; at least one.
        """
        clicks = self._to_input(point_coords, embedding).transpose(1, 2)
        labels = torch.ones(clicks.shape[:3], dtype=torch.int64, device=self.device)
        masks, iou = self._decode(embedding, input_points=clicks, input_labels=labels, multimask_output=True)
        return DecodedPoints(masks[0], iou[0])

    def mask_logits(
        self, low_res_logits: Float[Tensor, "k h w"], embedding: Embedding
    ) -> Float[Tensor, "k H W"]:
        """Return maps over the model's square at the photo's size, the way the model's own program does it.

        Where the photo was padded: enlarged to the square, cropped, resized to the photo; otherwise resized
        to the photo at once.

        Source: segment-anything, Sam.postprocess_masks; transformers, Sam2ImageProcessor.post_process_masks.
        """
        if not self.family.pads:
            return bilinear(low_res_logits, embedding.size)
        square = bilinear(low_res_logits, (self.input_length, self.input_length))
        height, width = embedding.input_size
        return bilinear(square[:, :height, :width], embedding.size)

    def _decode(
        self, embedding: Embedding, **prompts: Tensor | bool | None
    ) -> tuple[Float[Tensor, "1 p k h w"], Float[Tensor, "1 p k"]]:
        """Return the masks and IoU predictions of p sets of prompts, in the mask tokens' order."""
        inputs = self.family.decoder_inputs(embedding.features, embedding.fine_features)
        with (
            torch.no_grad(),
            _precision(self.device, torch.float32),
            self.family.decoding(self.model.mask_decoder) as in_token_order,
        ):
            output = self.model(**inputs, **prompts)
            return in_token_order(output.pred_masks, output.iou_scores)

    def _to_input(
        self, coords: Float[Tensor, "n 2"] | None, embedding: Embedding
    ) -> Float[Tensor, "1 1 n 2"] | None:
        """Return photo coordinates as coordinates in the model's square."""
        if coords is None:
            return None
        (height, width), (input_height, input_width) = embedding.size, embedding.input_size
        # In float64 as the authors' numpy code, rounded to float32 once.
        scale = torch.tensor([input_width / width, input_height / height], dtype=torch.float64)
        return (coords.cpu().double() * scale).float().to(self.device)[None, None]

    def _box_to_input(
        self, box: Float[Tensor, " 4"] | None, embedding: Embedding
    ) -> Float[Tensor, "1 1 4"] | None:
        """Return a box in the photo as a box in the model's square."""
        corners = self._to_input(None if box is None else box.reshape(2, 2), embedding)
        return None if corners is None else corners.reshape(1, 1, 4)


@contextmanager
def _precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute in this precision inside the block, whatever holds outside.

    In float32 that means no autocast and, in convolutions, no TF32, which is on by default.
    """
    reduced = dtype != torch.float32
    with torch.autocast(device.type, dtype=dtype if reduced else None, enabled=reduced):
        if device.type != "cuda":
            yield
            return
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
