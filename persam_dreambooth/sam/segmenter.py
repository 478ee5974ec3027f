"""Segment Anything in two calls: encode a photo once, decode it with as many prompts as are needed.

Reads a model in transformers' folder format. Grids and sizes come from the model, never from here: SAM's 1024
px and 64 x 64 cells are one case among others.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers import SamConfig, SamModel
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.photos import file_digest
from persam_dreambooth.sam.guided_attention import persam_decoding

# Mean and spread of ImageNet's RGB values, 0 to 255: what every SAM was trained with.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

TOY_SAM = Path(__file__).parents[1] / "toyworld" / "models" / "sam"

_NEEDED = "a SAM folder in transformers' format, a hub id or `toy`"

# What transformers raises for models that are missing, cut off, or of other shapes than their config says.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def resized_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return (height, width) in pixels after the longer side is scaled to `long_side`, up or down.

    Source: segment-anything, utils/transforms.py, ResizeLongestSide.get_preprocess_shape.
    """
    scale = long_side / max(size)
    # At least one pixel, for photos so narrow that rounding would leave nothing.
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def preprocess(pixels: UInt8[np.ndarray, "H W 3"], long_side: int) -> Float[Tensor, "1 3 L L"]:
    """Return a photo as SAM sees it: resized, normalised, padded with zeros at the right and the bottom.

    The resizing is Pillow's (antialiased, rounded to whole grey values); other bilinear filters change the
    features by a percent.

    Args:
        pixels: RGB, 0 to 255.
        long_side: side of the padded square L, in pixels.

    Source: segment-anything, ResizeLongestSide.apply_image and Sam.preprocess.
    """
    height, width = resized_size(pixels.shape[:2], long_side)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    values = (values - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]
    return pad(values, (0, long_side - width, 0, long_side - height))[None]


def bilinear(maps: Float[Tensor, "k h w"], size: tuple[int, int]) -> Float[Tensor, "k H W"]:
    """Return maps resized to (height, width) the way SAM does everywhere: bilinear, no antialiasing."""
    return interpolate(maps[None], size=size, mode="bilinear", align_corners=False, antialias=False)[0]


def model_digest(name_or_path: str) -> str:
    """Return a text that changes when the model does: sha256 of a folder's files, or a hub model's commit.

    Raises:
        UserError: there is no such model.
    """
    source = _source(name_or_path)
    if not source.is_dir():
        config = _config_dict(name_or_path)
        return f"{name_or_path}@{config.get('_commit_hash')}"
    _config_dict(name_or_path)
    digest = hashlib.sha256()
    for path in sorted(source.iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin"):
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Embedding:
    """One encoded photo."""

    features: Float[Tensor, "1 c gh gw"]
    """What the image encoder says of each cell of the padded square; not normalised."""
    size: tuple[int, int]
    """(height, width) of the photo, in pixels."""
    input_size: tuple[int, int]
    """(height, width) of the resized photo inside the padded square, in the model's pixels."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the mask decoder says to one set of prompts: three masks of different extent, or one."""

    low_res_logits: Float[Tensor, "k h w"]
    """Unthresholded scores over the padded square, four to a cell's side; subject where positive."""
    iou_predictions: Float[Tensor, " k"]
    """The model's own guess of each mask's IoU with the truth, about 0 to 1."""


class Segmenter:
    """A SAM that stays loaded. Everything is computed in float32 and without gradients."""

    def __init__(self, model: SamModel, device: str | torch.device = "cpu") -> None:
        self.model = model.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
        self.device = torch.device(device)
        self.input_length: int = model.config.vision_config.image_size
        """Side of the padded square, in pixels."""

    @classmethod
    def load(cls, name_or_path: str, device: str | torch.device = "cpu") -> "Segmenter":
        """Load a transformers SAM: `toy` (the embedded one), a folder, or a hub id.

        Raises:
            UserError: there is no such model, it is no SAM, or its weights are incomplete.
        """
        source = _source(name_or_path)
        _config_dict(name_or_path)
        try:
            disable_progress_bar()
            model, loading = SamModel.from_pretrained(
                source if source.is_dir() else name_or_path, dtype=torch.float32, output_loading_info=True
            )
        except _UNLOADABLE as error:
            raise UserError(_unloadable(name_or_path, error)) from error
        finally:
            enable_progress_bar()
        if loading["missing_keys"]:
            missing = sorted(loading["missing_keys"])
            raise UserError(
                f"--sam {name_or_path}: {len(missing)} of the weights are missing ({missing[0]}); "
                "a complete SAM is needed. Download or save it again."
            )
        return cls(model, device)

    def encode(self, pixels: UInt8[np.ndarray, "H W 3"]) -> Embedding:
        """Run the image encoder, the heavy half, on one photo (RGB, 0 to 255)."""
        size = (pixels.shape[0], pixels.shape[1])
        with torch.no_grad(), _full_precision(self.device):
            features = self.model.get_image_embeddings(preprocess(pixels, self.input_length).to(self.device))
        return Embedding(features, size, resized_size(size, self.input_length))

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
                that SAM keeps for prompts that are not.
            attention_similarity: PerSAM's guidance, 0 to 1 for each cell of the padded square.
            target_embedding: PerSAM's mean feature of the subject, not normalised.
        """
        target = None if target_embedding is None else target_embedding.to(self.device)
        with (
            torch.no_grad(),
            _full_precision(self.device),
            persam_decoding(
                self.model.mask_decoder,
                with_similarity=attention_similarity is not None,
                target_embedding=target,
            ),
        ):
            output = self.model(
                image_embeddings=embedding.features,
                input_points=self._to_input(point_coords, embedding),
                input_labels=None if point_labels is None else point_labels.to(self.device)[None, None],
                input_boxes=self._box_to_input(box, embedding),
                input_masks=None if mask_input is None else mask_input.to(self.device)[None],
                multimask_output=multimask_output,
                attention_similarity=(
                    None
                    if attention_similarity is None
                    else attention_similarity.to(self.device).reshape(1, 1, 1, -1)
                ),
                target_embedding=target,
            )
        return Decoded(output.pred_masks[0, 0], output.iou_scores[0, 0])

    def mask_logits(
        self, low_res_logits: Float[Tensor, "k h w"], embedding: Embedding
    ) -> Float[Tensor, "k H W"]:
        """Return maps over the padded square at the photo's size: enlarged, cropped, resized to the photo.

        Source: segment-anything, Sam.postprocess_masks.
        """
        square = bilinear(low_res_logits, (self.input_length, self.input_length))
        height, width = embedding.input_size
        return bilinear(square[:, :height, :width], embedding.size)

    def _to_input(
        self, coords: Float[Tensor, "n 2"] | None, embedding: Embedding
    ) -> Float[Tensor, "1 1 n 2"] | None:
        """Return photo coordinates as coordinates in the resized photo."""
        if coords is None:
            return None
        (height, width), (input_height, input_width) = embedding.size, embedding.input_size
        # In float64 as the authors' numpy code, rounded to float32 once.
        scale = torch.tensor([input_width / width, input_height / height], dtype=torch.float64)
        return (coords.cpu().double() * scale).float().to(self.device)[None, None]

    def _box_to_input(
        self, box: Float[Tensor, " 4"] | None, embedding: Embedding
    ) -> Float[Tensor, "1 1 4"] | None:
        """Return a box in the photo as a box in the resized photo."""
        corners = self._to_input(None if box is None else box.reshape(2, 2), embedding)
        return None if corners is None else corners.reshape(1, 1, 4)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Keep float32 inside the block: no autocast and, in convolutions, no TF32, which is on by default."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield


def _source(name_or_path: str) -> Path:
    """Return the model's folder, or a path that is no folder where the name is a hub id.

    Raises:
        UserError: the name can only be a folder, and there is none.
    """
    source = TOY_SAM if name_or_path == "toy" else Path(name_or_path).expanduser()
    # A hub id is `name` or `owner/name`; everything else can only be meant as a folder.
    is_hub_id = (
        not source.exists() and name_or_path.count("/") <= 1 and name_or_path[:1] not in ("/", ".", "~", "")
    )
    if name_or_path == "toy" and not source.is_dir():
        raise UserError(
            f"--sam toy: {source} is missing; the installation is incomplete. Install the package again."
        )
    if not source.is_dir() and not is_hub_id:
        what = "a file" if source.exists() else "no such folder"
        raise UserError(f"--sam {name_or_path}: {what}; {_NEEDED} is needed.")
    return source


def _config_dict(name_or_path: str) -> dict:
    """Return the model's config.

    Raises:
        UserError: it cannot be read, or belongs to another kind of model.
    """
    source = _source(name_or_path)
    try:
        config, _ = SamConfig.get_config_dict(source if source.is_dir() else name_or_path)
    except _UNLOADABLE as error:
        raise UserError(_unloadable(name_or_path, error)) from error
    if config.get("model_type") != "sam":
        raise UserError(
            f"--sam {name_or_path}: the model's type is {config.get('model_type')!r}; 'sam' is needed. "
            "Try facebook/sam-vit-base."
        )
    return config


def _unloadable(name_or_path: str, error: Exception) -> str:
    """Return the error text for a model that cannot be loaded."""
    reason = one_line(error).split(". ")[0].rstrip(".")
    return (
        f"--sam {name_or_path}: cannot be loaded ({reason}); "
        f"{_NEEDED} is needed. Check the name, or download it again."
    )
