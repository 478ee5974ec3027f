"""Prompts, once through the text encoders: what the UNet is told of each picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.encode_cache import EncodeCache, device_kind
from persam_dreambooth.diffusion.families import encode_text, time_ids
from persam_dreambooth.diffusion.geometry import Placement
from persam_dreambooth.diffusion.models import Models, prompt_ids

InputIds = tuple[Int[Tensor, "b t"], ...]


@dataclass(frozen=True, eq=False)
class EncodedPrompts:
    """Prompts as the UNet is told them, and as the text encoders are."""

    conditions: Conditions
    """Of each prompt, the picture's sizes left out."""
    input_ids: InputIds
    """Token numbers, for each text encoder."""

    def rows(self, index: Sequence[int]) -> "EncodedPrompts":
        """Return some of the prompts, a prompt as often as it is named; without a copy where all are one."""
        if len(set(index)) == 1:
            one, count = self.conditions.rows(index[0]), len(index)
            ids = tuple(values[index[:1]].expand(count, -1) for values in self.input_ids)
            return EncodedPrompts(one.expand(count), ids)
        return EncodedPrompts(self.conditions.rows(index), tuple(values[index] for values in self.input_ids))


@torch.no_grad()
def encode_prompts(
    models: Models,
    prompts: Sequence[str],
    sources: Sequence[str],
    *,
    device: str | torch.device = "cpu",
    cache: EncodeCache,
) -> EncodedPrompts:
    """Return prompts as the UNet is told them, on the CPU; each is encoded by itself and once.

    Args:
        models: the text encoders are moved to `device` for this, if need be, and back to the CPU.
        prompts: at least one.
        sources: where each comes from, for error texts.
        device: where to encode.
        cache: of what was encoded before.

    Raises:
        UserError: a prompt is too long.
    """
    written_in = dict(zip(reversed(prompts), reversed(sources), strict=True))
    distinct = {
        prompt: prompt_ids(models.tokenizers, prompt, written_in[prompt]) for prompt in dict.fromkeys(prompts)
    }
    digests = [cache.weights_of(encoder) for encoder in models.text_encoders]
    found = [
        cache.get(
            lambda ids=ids: _encode(models, ids, device),
            "prompt",
            models.family.name,
            digests,
            [values.tolist() for values in ids],
            device_kind(device),
        )
        for ids in distinct.values()
    ]
    for encoder in models.text_encoders:
        encoder.to("cpu")
    encoded = EncodedPrompts(
        Conditions.cat([Conditions(**tensors) for tensors in found]),
        tuple(torch.cat(column) for column in zip(*distinct.values(), strict=True)),
    )
    numbers = {prompt: number for number, prompt in enumerate(distinct)}
    return encoded.rows([numbers[prompt] for prompt in prompts])


def encode_no_prompt(
    models: Models, *, device: str | torch.device = "cpu", cache: EncodeCache
) -> EncodedPrompts:
    """Return what the UNet is told in place of a prompt that is dropped; arguments as above.

    It is what its pipeline tells it where there is no negative prompt: the empty prompt, or zeros.

    Source: StableDiffusionXLPipeline.encode_prompt of diffusers (force_zeros_for_empty_prompt).
    """
    encoded = encode_prompts(models, [""], ["the empty prompt"], device=device, cache=cache)
    if not models.pipeline_options.get("force_zeros_for_empty_prompt"):
        return encoded
    told = encoded.conditions
    zeros = Conditions(torch.zeros_like(told.prompt_embeds), torch.zeros_like(told.pooled_prompt_embeds))
    return EncodedPrompts(zeros, encoded.input_ids)


def with_sizes(models: Models, conditions: Conditions, placements: Sequence[Placement]) -> Conditions:
    """Return conditions with what the UNet is told of each picture's sizes, if its family is told."""
    told = [
        time_ids(models.family, place.original, (place.top, place.left), place.target) for place in placements
    ]
    given = [values for values in told if values is not None]
    return replace(conditions, time_ids=torch.cat(given)) if given else conditions


def _encode(models: Models, input_ids: InputIds, device: str | torch.device) -> dict[str, Tensor]:
    """Return one prompt's conditions by their names, on the CPU."""
    encoders = [encoder.to(device) for encoder in models.text_encoders]
    prompt_embeds, pooled = encode_text(models.family, encoders, tuple(ids.to(device) for ids in input_ids))
    tensors = {"prompt_embeds": prompt_embeds.cpu()}
    return tensors if pooled is None else {**tensors, "pooled_prompt_embeds": pooled.cpu()}
