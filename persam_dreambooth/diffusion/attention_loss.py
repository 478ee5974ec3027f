"""The identifier should look at the subject: the cross-attention loss of Break-A-Scene.

    A = mean over examples and places of (a / max a - m)^2

with a the attention that a place pays to the identifier's tokens, averaged over heads and over the layers at
a quarter of the latents' side, and m the subject's share of that place. Its weight in the paper is 0.01.

Source: Avrahami et al. 2023, Break-A-Scene, the cross-attention loss of section 3; train.py of its authors.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from transformers import PreTrainedTokenizerBase

from persam_dreambooth.errors import UserError

IdentifierIds = tuple[tuple[int, ...], ...]


def identifier_ids(tokenizer: PreTrainedTokenizerBase, identifier: str) -> IdentifierIds:
    """Return the token numbers of each word of the identifier; a rare word has several.

    Raises:
        UserError: there is no word in it.
    """
    words = [tuple(tokenizer(word, add_special_tokens=False).input_ids) for word in identifier.split()]
    if not words or not all(words):
        raise UserError(
            f"--identifier {identifier!r}: no word; --attention_mask_weight needs the one of "
            "--instance_prompt that names the subject. Give it, for example sks."
        )
    return tuple(words)


def token_positions(input_ids: Int[Tensor, "b t"], identifier: IdentifierIds) -> Bool[Tensor, "b t"]:
    """Return which tokens of each prompt belong to a word of the identifier.

    Args:
        input_ids: token numbers of the prompts.
        identifier: from `identifier_ids`.
    """
    found = torch.zeros_like(input_ids, dtype=torch.bool)
    for word in identifier:
        pieces = torch.tensor(word, device=input_ids.device)
        starts = (input_ids.unfold(1, len(word), 1) == pieces).all(dim=-1)
        for offset in range(len(word)):
            found[:, offset : offset + starts.shape[1]] |= starts
    return found


def check_identifier(
    input_ids: Int[Tensor, "rows t"], ids: IdentifierIds, identifier: str, names: Sequence[str]
) -> None:
    """Raise UserError unless every photo's prompt holds each word of the identifier.

    Args:
        input_ids: token numbers of the prompts, mirrored copies after the photos.
        ids: from `identifier_ids`.
        identifier: the words themselves.
        names: of the photos.
    """
    for word, pieces in zip(identifier.split(), ids, strict=True):
        held = token_positions(input_ids[: len(names)], (pieces,)).any(dim=1).tolist()
        missing = [name for name, holds in zip(names, held, strict=True) if not holds]
        if missing:
            raise UserError(
                f"--identifier {word}: not in the prompt of {missing[0]}; --attention_mask_weight needs it "
                "in every photo's. Put it into --instance_prompt or the captions, or name another."
            )


def attention_mse(
    attention: Float[Tensor, "n h w"],
    subject_share: Float[Tensor, "n 1 H W"],
    positions: Bool[Tensor, "n t"],
) -> Float[Tensor, ""]:
    """Return the mean over examples of the squared error between attention and mask.

    Args:
        attention: paid to the identifier, from `token_attention`.
        subject_share: the subject's share of each latent cell, 0 to 1.
        positions: from `token_positions`. A prompt without the identifier adds 0, and so does a photo that is
            all subject, or has no mask: it does not say where to look.
    """
    target = adaptive_avg_pool2d(subject_share, attention.shape[-2:])[:, 0]
    # Softmax can round to 0 in float32: then there is no map, and no division by its peak.
    peak = attention.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(attention.dtype).tiny)
    error = (attention / peak - target).square().mean(dim=(1, 2))
    says_where = positions.any(dim=1) & (subject_share < 1).any(dim=(1, 2, 3))
    return torch.where(says_where, error, 0.0).mean()
