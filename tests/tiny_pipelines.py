"""Small random Stable Diffusion folders, built in code: all that a real one has, in half a megabyte."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from persam_dreambooth.diffusion.encode import Encoded, Geometry, encode
from persam_dreambooth.diffusion.models import Models, load_models
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.photos import Photo, array_digest

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = "a photo of sks cat dog on the beach in snow toy".split()
MAX_TOKENS = 16
RESOLUTION = 32
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in which the words above are one token each and all else is spelt."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    symbols = [chr(byte) for byte in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        merges += [("".join(pieces[:n]), pieces[n]) for n in range(1, len(pieces))]
    merges = list(dict.fromkeys(merges))
    pieces = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges), START, END]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=MAX_TOKENS,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_vae() -> AutoencoderKL:
    """Factor 8, as in Stable Diffusion."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=[8, 8, 8, 8],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def build_unet(in_channels: int = 4) -> UNet2DConditionModel:
    torch.manual_seed(3)
    return UNet2DConditionModel(
        sample_size=RESOLUTION // 8,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    )


def build_pipeline_folder(
    folder: Path,
    *,
    prediction_type: str = "epsilon",
    in_channels: int = 4,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Save a pipeline; PNDM as Stable Diffusion 1.5 has, or DDIM for other predictions than the noise."""
    tokenizer = build_tokenizer()
    if prediction_type == "epsilon":
        scheduler = PNDMScheduler(**NOISE_SCHEDULE, skip_prk_steps=True)
    else:
        scheduler = DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, prediction_type=prediction_type)
    pipeline = StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=build_unet(in_channels),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with quiet():
        pipeline.to(dtype=dtype).save_pretrained(folder)
    return folder


@functools.cache
def tiny_folder() -> Path:
    """A pipeline folder to read from, built once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return build_pipeline_folder(folder)


def tiny_models() -> Models:
    """The parts of that pipeline, loaded anew: training changes them."""
    return load_models(str(tiny_folder()))


def rename_pipeline(folder: Path, class_name: str) -> None:
    """Let a folder claim to be another kind of pipeline."""
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": class_name}))


def draw_photo(number: int, size: tuple[int, int] = (40, 48)) -> tuple[Photo, np.ndarray]:
    """A red disc on noise, and its exact mask."""
    height, width = size
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 90, (height, width, 3), dtype=np.uint8))
    mask = Image.new("1", (width, height))
    x, y = width // 2 + int(rng.integers(-4, 5)), height // 2 + int(rng.integers(-4, 5))
    box = (x - 10, y - 10, x + 10, y + 10)
    ImageDraw.Draw(image).ellipse(box, fill=(230, 60, 30))
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    pixels = np.array(image)
    return Photo(Path(f"{number:02d}.png"), pixels, array_digest(pixels)), np.array(mask)


def draw_album(count: int) -> tuple[list[Photo], dict[str, np.ndarray]]:
    """Photos and their masks by stem."""
    pairs = [draw_photo(number) for number in range(count)]
    return [photo for photo, _ in pairs], {photo.stem: mask for photo, mask in pairs}


def encode_album(models: Models, count: int = 3, *, with_masks: bool = True, **geometry: bool) -> Encoded:
    """Photos of discs, ready for training."""
    photos, masks = draw_album(count)
    return encode(
        models,
        photos,
        masks if with_masks else None,
        prompt="a photo of sks cat",
        geometry=Geometry(resolution=RESOLUTION, **geometry),
    )
