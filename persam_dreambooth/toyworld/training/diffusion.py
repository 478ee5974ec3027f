"""Train the toy world's Stable Diffusion: text encoder and UNet together, on the latents of its VAE.

    python -m persam_dreambooth.toyworld.training.diffusion --data output/toyworld/data \
        --vae output/toyworld/vae/model --out output/toyworld/diffusion

Captions are drawn anew each time a scene is used, with and without the place and the looks; one in ten is
empty, for classifier-free guidance. The loss is the squared error of the predicted noise with min-SNR
weights, subjects counting SUBJECT_WEIGHT times: they cover an eighth of a scene and are most of what is to be
learnt.

Source: Rombach et al. 2022 (latent diffusion); Hang et al. 2023, Efficient Diffusion Training via Min-SNR
Weighting Strategy.
"""

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from persam_dreambooth.toyworld import captions
from persam_dreambooth.toyworld.training.data import Shards, read_shards, small_pixel_values
from persam_dreambooth.toyworld.training.loop import Trainee, train
from persam_dreambooth.toyworld.training.tokenizer import MAX_TOKENS, build_tokenizer

EMPTY_CAPTION_FRACTION = 0.1
SNR_GAMMA = 5.0
SUBJECT_WEIGHT = 3.0
TEXT_WIDTH = 128
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
"""Stable Diffusion 1.x's."""


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder, about 0.6 million parameters."""
    torch.manual_seed(1)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=TEXT_WIDTH,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet on 16 x 16 latents, about nine million parameters."""
    torch.manual_seed(2)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(72, 128, 192),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
    )


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, shards: Shards, cache: Path, device: str) -> Tensor:
    """Posterior mean and log-variance of every scene, fp16 [n 8 h w].

    They are kept in `cache`, which is extended when there are more scenes.
    """
    known = torch.load(cache, weights_only=True) if cache.exists() else torch.empty(0)
    moments = [known] if len(known) else []
    for start in tqdm(range(len(known), len(shards.records), 50), desc="encode", mininterval=20):
        pixels = small_pixel_values(shards.images[start : start + 50])
        with torch.autocast(device, torch.bfloat16):
            posterior = vae.encode(pixels.to(device)).latent_dist
        moments.append(torch.cat([posterior.mean, posterior.logvar], 1).half().cpu())
    moments = torch.cat(moments)
    torch.save(moments, cache)
    return moments


def subject_shares(shards: Shards, side: int) -> Tensor:
    """Share of each latent cell that the subject covers, 0 to 1, [n side side]."""
    shares = []
    for owners, record in zip(shards.owners, shards.records, strict=True):
        own = [number for number, layer in enumerate(record["layers"], 1) if layer["of_subject"]]
        mask = torch.from_numpy(np.isin(owners, own)).float()
        shares.append(avg_pool2d(mask[None], mask.shape[-1] // side)[0])
    return torch.stack(shares)


def captions_of(records: list[dict], rng: Random) -> list[str]:
    """A fresh caption for each record, empty now and then."""
    sentences = []
    for record in records:
        is_empty = rng.random() < EMPTY_CAPTION_FRACTION
        scene = record["subject"], record["background"], record["identity"]
        sentences.append("" if is_empty else captions.caption(*scene, rng))
    return sentences


def token_ids(tokenizer: CLIPTokenizer, sentences: list[str], known: dict[str, list[int]]) -> Tensor:
    """Token numbers [b MAX_TOKENS], remembered in `known`."""
    for sentence in sentences:
        if sentence not in known:
            known[sentence] = tokenizer(
                sentence, padding="max_length", truncation=True, max_length=MAX_TOKENS
            ).input_ids
    return torch.tensor([known[sentence] for sentence in sentences])


def diffusion_losses(
    model: nn.ModuleDict,
    scheduler: DDPMScheduler,
    latents: Tensor,
    ids: Tensor,
    shares: Tensor,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Min-SNR weighted squared error of the predicted noise, E min(snr, gamma) / snr * w |eps - eps_theta|^2.

    w is 1 where there is no subject and SUBJECT_WEIGHT where there is nothing else.

    Args:
        model: "unet" and "text_encoder".
        scheduler: The forward process, 1000 timesteps.
        latents: Scaled to unit variance, [b 4 h w].
        ids: Token numbers, [b MAX_TOKENS].
        shares: How much of each cell is subject, 0 to 1, [b h w].
        rng: Draws the noise and the timesteps.
    """
    noise = torch.randn(latents.shape, generator=rng).to(latents)
    timesteps = torch.randint(1000, (len(latents),), generator=rng).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    with torch.autocast(latents.device.type, torch.bfloat16):
        prompt_embeds = model["text_encoder"](ids.to(latents.device)).last_hidden_state
        prediction = model["unet"](noisy, timesteps, prompt_embeds).sample
    error = mse_loss(prediction.float(), noise, reduction="none").mean(1)
    weighted = error * (1 + (SUBJECT_WEIGHT - 1) * shares)
    alphas = scheduler.alphas_cumprod.to(latents.device)[timesteps]
    snr = alphas / (1 - alphas)
    return {"loss": (weighted.mean((1, 2)) * snr.clamp(max=SNR_GAMMA) / snr).mean(), "mse": error.mean()}


def save_pipeline(model: nn.ModuleDict, tokenizer: CLIPTokenizer, vae: AutoencoderKL, folder: Path) -> None:
    """Write an ordinary Stable Diffusion folder with fp16 weights."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model["text_encoder"],
        tokenizer=tokenizer,
        unet=model["unet"],
        scheduler=DPMSolverMultistepScheduler(**NOISE_SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)


def main() -> None:
    """Train, then export the averaged weights as a pipeline folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("output/toyworld/data"))
    parser.add_argument("--vae", type=Path, default=Path("output/toyworld/vae/model"))
    parser.add_argument("--out", type=Path, default=Path("output/toyworld/diffusion"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = build_tokenizer()
    vae = AutoencoderKL.from_pretrained(args.vae).to(device).eval()
    model = nn.ModuleDict({"unet": build_unet(), "text_encoder": build_text_encoder(tokenizer)}).to(device)
    # In training, half as fast again on a CPU as fused attention; it is the same function.
    model["unet"].set_attn_processor(AttnProcessor())
    trainee = Trainee(model, args.out, learning_rate=args.learning_rate, ema_decay=0.9995)
    scheduler = DDPMScheduler(
        **{key: value for key, value in NOISE_SCHEDULE.items() if key != "steps_offset"}
    )
    shards = read_shards(args.data)
    moments = encode_scenes(vae, shards, args.out / "moments.pt", device)
    records, shares = shards.records, subject_shares(shards, moments.shape[-1]).to(device)
    del shards
    known: dict[str, list[int]] = {}

    def losses_of(step: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng(step).integers(len(records), size=args.batch_size)
        rng = torch.Generator().manual_seed(step)
        mean, logvar = moments[chosen].float().to(device).chunk(2, dim=1)
        latents = (
            mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=rng).to(device)
        ) * vae.config.scaling_factor
        ids = token_ids(tokenizer, captions_of([records[k] for k in chosen], Random(step)), known)
        return diffusion_losses(model, scheduler, latents, ids, shares[chosen], rng)

    train(trainee, losses_of, steps=args.steps, minutes=args.minutes)
    save_pipeline(trainee.averaged().cpu(), tokenizer, vae.cpu(), args.out / "model")


if __name__ == "__main__":
    main()
