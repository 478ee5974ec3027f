"""Small random pipeline folders of every family: all that a real one has, in half a megabyte."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from persam_dreambooth.diffusion.models import Models, load_models
from persam_dreambooth.diffusion.quiet import quiet

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = "a photo of sks cat dog on the beach in snow toy".split()
MAX_TOKENS = 16
RESOLUTION = 32
TEXT_WIDTH = 16
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
PLAYGROUND_LATENTS = {
    "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
    "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
    "scaling_factor": 0.5,
}
KINDS = ("sd", "sd_v", "sd_sample", "sd_learned", "sdxl", "sdxl_edm")
"""SD 1, SD 2 with velocities, predicted latents, learnt variance, SDXL, SDXL with EDM as Playground 2.5."""


def build_tokenizer(pad_token: str = END) -> CLIPTokenizer:
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
        pad_token=pad_token,
        model_max_length=MAX_TOKENS,
    )


def text_config(tokenizer: CLIPTokenizer, **options: object) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        intermediate_size=32,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{"hidden_size": TEXT_WIDTH, "num_hidden_layers": 1, **options},
    )


def build_text_encoder(tokenizer: CLIPTokenizer, **options: object) -> CLIPTextModel:
    torch.manual_seed(1)
    return CLIPTextModel(text_config(tokenizer, **options))


def build_vae(**options: object) -> AutoencoderKL:
    """Factor 8, as in Stable Diffusion."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=[8, 8, 8, 8],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
        layers_per_block=1,
        **{"latent_channels": 4, **options},
    )


def build_unet(in_channels: int = 4, **options: object) -> UNet2DConditionModel:
    torch.manual_seed(3)
    defaults = {
        "sample_size": RESOLUTION // 8,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": TEXT_WIDTH,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(in_channels=in_channels, **{**defaults, **options})


def build_pipeline_folder(
    folder: Path, *, prediction_type: str = "epsilon", dtype: torch.dtype = torch.float32, **unet: object
) -> Path:
    """Save a pipeline; PNDM as Stable Diffusion 1.5 has, or DDIM for other predictions than the noise."""
    tokenizer = build_tokenizer()
    if unet.get("out_channels") == 8:
        scheduler = DDPMScheduler(**NOISE_SCHEDULE, clip_sample=False, variance_type="learned_range")
    elif prediction_type == "epsilon":
        scheduler = PNDMScheduler(**NOISE_SCHEDULE, skip_prk_steps=True)
    else:
        scheduler = DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, prediction_type=prediction_type)
    # Stable Diffusion 2's text encoder has another activation and a projection that is not used.
    second = {"hidden_act": "gelu", "projection_dim": 8} if prediction_type == "v_prediction" else {}
    pipeline = StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=build_text_encoder(tokenizer, **second),
        tokenizer=tokenizer,
        unet=build_unet(**unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return save(pipeline, folder, dtype)


def build_sdxl_folder(folder: Path, *, edm: bool = False) -> Path:
    """Save a pipeline with two text encoders; with an EDM scheduler and VAE as Playground 2.5 has."""
    first, second = build_tokenizer(), build_tokenizer(pad_token="!")
    layers = {"num_hidden_layers": 2, "projection_dim": 8, "hidden_act": "gelu"}
    text_encoder = build_text_encoder(first, **layers)
    torch.manual_seed(4)
    text_encoder_2 = CLIPTextModelWithProjection(text_config(second, **layers))
    unet = build_unet(
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 8,
        cross_attention_dim=2 * TEXT_WIDTH,
    )
    if edm:
        scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    else:
        scheduler = EulerDiscreteScheduler(**NOISE_SCHEDULE, timestep_spacing="leading")
    pipeline = StableDiffusionXLPipeline(
        vae=build_vae(**(PLAYGROUND_LATENTS if edm else {"scaling_factor": 0.13025})),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    return save(pipeline, folder)


def save(pipeline: object, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    with quiet():
        pipeline.to(dtype=dtype).save_pretrained(folder)
    return folder


def build_folder(kind: str, folder: Path) -> Path:
    """Save a pipeline of a kind."""
    if kind.startswith("sdxl"):
        return build_sdxl_folder(folder, edm=kind == "sdxl_edm")
    predictions = {"sd_v": "v_prediction", "sd_sample": "sample"}
    more = {"sd_v": {"use_linear_projection": True}, "sd_learned": {"out_channels": 8}}
    return build_pipeline_folder(
        folder, prediction_type=predictions.get(kind, "epsilon"), **more.get(kind, {})
    )


@functools.cache
def tiny_folder(kind: str = "sd") -> Path:
    """A pipeline folder to read from, built once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return build_folder(kind, folder)


def tiny_models(kind: str = "sd", **options: object) -> Models:
    """The parts of that pipeline, loaded anew: training changes them."""
    return load_models(str(tiny_folder(kind)), **options)
