"""Pictures of prompts and seeds by one model, drawn once: what is there is not drawn again.

    pictures/masked/r00_0-3f9c2a1b.png    prompt r00 with seed 0

Every PNG carries what it follows from: a digest of the model's weights, the words, the seed and the sampler.
A picture counts only where that is what is asked for now, so that neither a retrained model nor another
setting is ever compared by old pictures; and as each file appears whole, half a picture never counts.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from tqdm import tqdm

from persam_dreambooth.diffusion.generate import check_prompt, draw
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.precision import cast, drawing_dtype
from persam_dreambooth.files import atomic_path
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.prompts import Prompt
from persam_dreambooth.photos import array_digest, read_photo
from persam_dreambooth.run import digest_of

KEY = "persam-dreambooth"
"""Name of the PNG text that says what a picture follows from."""


@dataclass(frozen=True)
class Sampler:
    """How pictures are drawn, the same for every model."""

    num_inference_steps: int = 25
    guidance_scale: float = 7.5
    precision: str | None = None
    """fp32, fp16 or bf16; None is fp16 on an accelerator, else fp32."""
    batch_size: int = 4

    def record(self) -> dict[str, Any]:
        """Return what pictures depend on, the precision aside, which the device decides too."""
        return {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
        }


@dataclass(frozen=True)
class Request:
    """One picture that is wanted."""

    prompt: Prompt
    seed: int
    asked: str
    """The words for this model."""


def requests_of(
    prompts: Sequence[Prompt], seeds: Sequence[int], other_seeds: Sequence[int], *, is_base: bool
) -> list[Request]:
    """Return the pictures of an arm, prompt by prompt.

    Args:
        prompts: of all families.
        seeds: of each recontext prompt.
        other_seeds: of each prompt of the other families.
        is_base: ask without the rare word.
    """
    return [
        Request(prompt, seed, prompt.base_text if is_base else prompt.text)
        for prompt in prompts
        for seed in (seeds if prompt.family == "recontext" else other_seeds)
    ]


def draw_missing(
    requests: Sequence[Request],
    folder: Path,
    *,
    digest: str,
    load: Callable[[], Models],
    sampler: Sampler,
    device: str,
    name: str,
) -> list[Path]:
    """Return the pictures' files, those that are missing drawn now.

    Args:
        requests: what is wanted.
        folder: of the files; others in it are left alone.
        digest: of everything in the model and its scheduler that decides what it draws.
        load: returns the model; called only where something is missing.
        sampler: how.
        device: where.
        name: of the model, for the progress bar.

    Raises:
        UserError: the model cannot be loaded, or a prompt is too long for it; nothing is drawn then.
    """
    dtype = drawing_dtype(sampler.precision, device)
    keys = [digest_of(digest, one.asked, one.seed, sampler.record(), str(dtype)) for one in requests]
    # Two prompts may be the same words for a model: of the base, those with the rare word and those without.
    names: dict[str, Path] = {}
    for request, key in zip(requests, keys, strict=True):
        names.setdefault(key, folder / _file_name(request, key))
    paths = [names[key] for key in keys]
    missing = [keys.index(key) for key, path in names.items() if read_key(path) != key]
    if not missing:
        return paths
    pipeline = build_pipeline(load())
    for number in missing:
        check_prompt(pipeline, requests[number].asked, "prompt")
    # Casting to what the weights are already would only copy them.
    ready = nullcontext() if device == "cpu" and dtype == torch.float32 else cast(pipeline, device, dtype)
    bar = tqdm(
        total=len(names),
        initial=len(names) - len(missing),
        desc=f"draw {name}",
        unit="picture",
        disable=None,
    )
    with ready, bar:
        for first in range(0, len(missing), sampler.batch_size):
            batch = missing[first : first + sampler.batch_size]
            pictures = draw(
                pipeline,
                [requests[number].asked for number in batch],
                [torch.Generator().manual_seed(requests[number].seed) for number in batch],
                num_inference_steps=sampler.num_inference_steps,
                guidance_scale=sampler.guidance_scale,
            )
            for number, picture in zip(batch, pictures, strict=True):
                write_keyed(picture, paths[number], keys[number])
            bar.update(len(batch))
    return paths


def as_pictures(requests: Sequence[Request], paths: Sequence[Path], step: int | None = None) -> list[Picture]:
    """Return drawn pictures with their pixels.

    Args:
        requests: what was asked for.
        paths: what `draw_missing` returned for it.
        step: optimizer steps of the checkpoint that drew them.
    """
    return [
        Picture(
            request.prompt.text,
            request.prompt.background,
            request.seed,
            read_photo(path).pixels,
            family=request.prompt.family,
            step=step,
            path=path,
        )
        for request, path in zip(requests, paths, strict=True)
    ]


def noise_of(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Return the noise [1 c h w] that every model's picture with a seed starts from.

    Args:
        shape: (channels, rows, columns).
        seed: of the picture.
    """
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def write_noise(shape: tuple[int, int, int], seeds: Sequence[int], path: Path) -> dict[str, str]:
    """Write the noise of each seed into one .npz file; return the digest of each, by seed."""
    noise = {str(seed): noise_of(shape, seed).numpy() for seed in seeds}
    with atomic_path(path) as temporary:
        np.savez(temporary, **noise)
    return {seed: array_digest(values) for seed, values in noise.items()}


def read_key(path: Path) -> str | None:
    """Return what a picture follows from, as its file says; None where there is none, or no whole one."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return image.info.get(KEY)
    except (OSError, SyntaxError, ValueError):
        return None


def write_keyed(picture: Image.Image, path: Path, key: str, **more: str) -> None:
    """Write a picture as PNG with what it follows from inside, and more texts by name; it appears whole."""
    told = PngImagePlugin.PngInfo()
    for name, text in {KEY: key, **more}.items():
        told.add_text(name, text)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=told)


def _file_name(request: Request, key: str) -> str:
    """Return a name that says which prompt and seed, and that no other picture has."""
    return f"{request.prompt.id}_{request.seed}-{key[:8]}.png"
