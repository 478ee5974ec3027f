"""Pictures of prompts and seeds, the same noise for every model: PNG files, prompts.json and a labelled grid.

00_0.png, 00_1.png, ...    picture of prompt 0 with seed 0, seed 1, ...
prompts.json               prompt, seed and file of each, and how they were drawn
grid.png                   a row a prompt, a column a seed
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from persam_dreambooth.diffusion.models import token_ids
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.files import atomic_path, write_text

PROMPTS_FILE = "prompts.json"
GRID_FILE = "grid.png"

_CELL = 256
_MARGIN = 8
_FONT_SIZE = 18


@dataclass(frozen=True)
class GeneratedImage:
    """One picture."""

    prompt: str
    seed: int
    path: Path


def generate(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    out_dir: Path,
    num_inference_steps: int = 25,
    guidance_scale: float = 7.5,
    batch_size: int = 4,
    on_drawn: Callable[[int], object] | None = None,
) -> list[GeneratedImage]:
    """Draw every prompt with every seed; return the pictures, prompt by prompt.

    The noise follows from the seed alone, as with `generator=torch.Generator().manual_seed(seed)` in
    diffusers: neither the model, the prompt, the batch size nor the device changes it.

    Args:
        pipeline: from `models.build_pipeline`.
        prompts: at least one.
        seeds: at least one.
        out_dir: where the files go; each appears whole.
        num_inference_steps: denoising steps.
        guidance_scale: of classifier-free guidance; 1 is without.
        batch_size: pictures at a time.
        on_drawn: called with the number of pictures after each batch, for a progress bar.

    Raises:
        UserError: a prompt is longer than the tokenizer allows.
    """
    for prompt in prompts:
        check_prompt(pipeline, prompt, "prompt")
    out_dir = Path(out_dir)
    wanted = [
        GeneratedImage(prompt, seed, out_dir / f"{number:02d}_{seed}.png")
        for number, prompt in enumerate(prompts)
        for seed in seeds
    ]
    for first in range(0, len(wanted), batch_size):
        batch = wanted[first : first + batch_size]
        pictures = draw(
            pipeline,
            [image.prompt for image in batch],
            [torch.Generator().manual_seed(image.seed) for image in batch],
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
        )
        for image, picture in zip(batch, pictures, strict=True):
            save_picture(picture, image.path)
        if on_drawn is not None:
            on_drawn(len(batch))
    _write_prompts(out_dir, wanted, num_inference_steps, guidance_scale)
    save_picture(grid(prompts, seeds, [image.path for image in wanted]), out_dir / GRID_FILE)
    return wanted


def check_prompt(pipeline: DiffusionPipeline, prompt: str, flag: str) -> None:
    """Raise UserError for a prompt that is too long for one of a pipeline's tokenizers; named by `flag`."""
    for name, part in pipeline.components.items():
        if name.startswith("tokenizer"):
            token_ids(part, prompt, flag)


def draw(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    guidance_scale: float,
) -> list[Image.Image]:
    """Return a picture for each prompt and CPU generator, at the model's own size.

    Schedulers that add noise on the way draw it from the same generators.
    """
    latents = initial_noise(pipeline, generators)
    with quiet():
        return pipeline(
            list(prompts),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            latents=latents.to(pipeline.unet.dtype),
            generator=list(generators),
        ).images


def initial_noise(
    pipeline: DiffusionPipeline, generators: Sequence[torch.Generator]
) -> Float[Tensor, "b c h w"]:
    """Return the noise that drawing starts from, each picture's from its generator, float32 on the CPU."""
    config = pipeline.unet.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    return torch.cat([torch.randn(shape, generator=generator) for generator in generators])


def grid(prompts: Sequence[str], seeds: Sequence[int], paths: Sequence[Path]) -> Image.Image:
    """Return one picture of all: a row a prompt with its text above it, a column a seed with its number."""
    font = ImageFont.load_default(_FONT_SIZE)
    width = len(seeds) * (_CELL + _MARGIN) + _MARGIN
    texts = [_wrapped(prompt, font, width - 2 * _MARGIN) for prompt in prompts]
    line = _FONT_SIZE + 6
    heights = [len(text) * line + _CELL + 2 * _MARGIN for text in texts]
    sheet = Image.new("RGB", (width, line + _MARGIN + sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, seed in enumerate(seeds):
        pen.text((_MARGIN + column * (_CELL + _MARGIN), _MARGIN), f"seed {seed}", fill="dimgray", font=font)
    top = line + _MARGIN
    for row, (text, height) in enumerate(zip(texts, heights, strict=True)):
        for number, words in enumerate(text):
            pen.text((_MARGIN, top + number * line), words, fill="black", font=font)
        for column in range(len(seeds)):
            with Image.open(paths[row * len(seeds) + column]) as picture:
                cell = picture.resize((_CELL, _CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (_MARGIN + column * (_CELL + _MARGIN), top + len(text) * line + _MARGIN // 2))
        top += height
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, atomically."""
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return a text in lines of at most `width` pixels, as far as its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write_prompts(
    out_dir: Path, images: Sequence[GeneratedImage], num_inference_steps: int, guidance_scale: float
) -> None:
    """Write what was drawn, and how."""
    record = {
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "images": [{"prompt": image.prompt, "seed": image.seed, "file": image.path.name} for image in images],
    }
    write_text(out_dir / PROMPTS_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
