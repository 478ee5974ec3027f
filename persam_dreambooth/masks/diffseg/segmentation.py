"""Photo to segments: the whole of DiffSeg, with a diffusion model that stays loaded."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from persam_dreambooth.devices import device_named
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.diffseg.aggregation import aggregate
from persam_dreambooth.masks.diffseg.attention import Attention, check_attention, clean_latents, look, told_of
from persam_dreambooth.masks.diffseg.clustering import k_means
from persam_dreambooth.masks.diffseg.labels import label_map
from persam_dreambooth.masks.diffseg.merging import anchor_distances, anchor_places, choose_tau, merge
from persam_dreambooth.masks.diffseg.windows import Fit, Size, cells_inside, square_of, window_of
from persam_dreambooth.settings import DiffSegConfig

PAPER_TAUS = (0.9, 0.9, 0.9)
"""Of the reference's notebook; its benchmarks take 0.9 on Cityscapes and 1.1 on COCO-Stuff."""


@dataclass(frozen=True, eq=False)
class Segments:
    """What DiffSeg tells apart in one photo, on the CPU."""

    proposals: Float[Tensor, "k p"]
    """A distribution over the p = R^2 places of the square for each segment."""
    size: Size
    """Of the photo."""
    fit: Fit
    """How it became a square."""
    nms: str
    """How proposals become labels."""
    taus: tuple[float, ...]
    """Threshold of each round."""
    of_tokens: dict[int, Float[Tensor, "_n t"]]
    """By the side of the grid: how much each place looks at each token of the prompt; empty without one."""
    latent_side: int
    """Cells along each side of the latents."""

    def labels(self, size: Size | None = None) -> Int[np.ndarray, "h w"]:
        """Return the number of the proposal that each pixel belongs to; -1 where the model did not look.

        Args:
            size: of a small copy of the photo; None is the photo's.
        """
        size = size or self.size
        return label_map(self.proposals, size, window_of(size, self.fit), self.nms)


class DiffSeg:
    """A diffusion model that segments photos; its weights stay as they are.

    Args:
        models: the UNet and the VAE move to the device; `release` brings them back.
        settings: the parameters of the method.
        device: where it computes.

    Raises:
        UserError: the UNet has no self-attention, there is no such device, or the VAE cannot take squares of
            the size that is asked for.
    """

    def __init__(self, models: Models, settings: DiffSegConfig, device: str | torch.device = "cpu") -> None:
        check_attention(models, at_tokens=False)
        self.models = models
        self.settings = settings
        self.device = device_named(device)
        self.side = settings.diffseg_size or models.default_resolution
        factor = models.vae_scale_factor
        if self.side % factor:
            below = max(self.side // factor * factor, factor)
            raise UserError(
                f"--diffseg_size {self.side}: not a multiple of {factor}, which the VAE needs. "
                f"Use {below} or {below + factor}."
            )
        models.unet.to(self.device)
        models.vae.to(self.device)
        self._told: dict[str, Conditions] = {}

    def release(self) -> None:
        """Bring the model back to the CPU."""
        self.models.unet.to("cpu")
        self.models.vae.to("cpu")

    def segment(
        self, pixels: UInt8[np.ndarray, "H W 3"], prompt: str | None = None, *, name: str = "photo"
    ) -> Segments:
        """Return the segments of a photo.

        They follow from a pass with the empty prompt; a prompt is only asked where its words are, in a pass
        of its own.

        Args:
            pixels: RGB, 0 to 255.
            prompt: what is in the photo; None if nobody asks for words.
            name: of the photo, for error texts.

        Raises:
            UserError: the photo is too narrow, or there is no such timestep.
        """
        settings = self.settings
        latents = clean_latents(self.models, square_of(pixels, settings.diffseg_fit, self.side), self.device)
        seen = self._look(latents, "")
        finest = max(seen.of_places)
        size = (pixels.shape[0], pixels.shape[1])
        inside = cells_inside(size, settings.diffseg_fit, finest, name)
        anchors = anchor_places(min(settings.diffseg_anchors, finest), finest, inside).to(self.device)
        maps = aggregate(seen.of_places, settings.diffseg_weights)
        # Large: at 128 places a side each copy is a gigabyte.
        seen.of_places.clear()
        proposals, taus = segmented(maps, anchors, settings)
        del maps
        tokens = self._look(latents, prompt, at_tokens=True).of_tokens if prompt else {}
        return Segments(
            proposals=proposals.cpu(),
            size=size,
            fit=settings.diffseg_fit,
            nms=settings.diffseg_nms,
            taus=taus,
            of_tokens={side: values.cpu() for side, values in tokens.items()},
            latent_side=latents.shape[-1],
        )

    def _look(self, latents: Float[Tensor, "1 c h w"], prompt: str, *, at_tokens: bool = False) -> Attention:
        """Return the attention of one pass; what the UNet is told is encoded once for all photos."""
        if prompt not in self._told:
            self._told[prompt] = told_of(self.models, prompt, self.side, self.device, "the prompt")
        return look(
            self.models,
            latents,
            self._told[prompt],
            timestep=self.settings.diffseg_timestep,
            add_noise=self.settings.diffseg_noise,
            at_tokens=at_tokens,
        )


def segmented(
    maps: Float[Tensor, "p p"], anchors: Int[Tensor, " m"], settings: DiffSegConfig
) -> tuple[Float[Tensor, "k p"], tuple[float, ...]]:
    """Return the proposals of a photo, and the threshold of each round.

    Args:
        maps: where each place looks, from `aggregate`.
        anchors: places, from `anchor_places`.
        settings: the parameters of the method.
    """
    distances = anchor_distances(maps, anchors)
    merged = partial(merge, maps, distances, exclusive=settings.diffseg_exclusive)
    taus = settings.diffseg_tau or PAPER_TAUS
    proposals = None if settings.diffseg_auto_tau else merged(taus)
    # One segment is no answer, unless somebody asked for the threshold that leads to it.
    if proposals is None or (len(proposals) == 1 and settings.diffseg_tau is None):
        taus = (choose_tau(lambda tau: len(merged((tau,) * len(taus)))),) * len(taus)
        proposals = merged(taus)
    if settings.diffseg_refine == "kmeans":
        proposals = k_means(maps, proposals)
    return proposals, taus
