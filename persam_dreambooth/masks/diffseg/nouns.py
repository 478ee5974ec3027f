"""Words and places: where a word of the prompt is, and which word each segment is.

A word may be several tokens; they count together. The reference takes the word's number for the token's,
which is wrong as soon as a word before it is split.

Source: Tian et al. 2023, DiffSeg, appendix (semantic labels); google/diffseg, segmentor.py,
aggregate_x_weights and get_semantics.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.diffusion.attention_loss import token_positions
from persam_dreambooth.diffusion.models import Models, token_ids
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.diffseg.segmentation import Segments
from persam_dreambooth.masks.diffseg.windows import drawn, shown_part, window_of

NOUN_FLAG = "--diffseg_noun"

LEAST_SIDE = 16
"""Places a side from which on words have a place: 16 and 32 of Stable Diffusion at 512 pixels, 24 and 48 at
768, 32 and 64 of SDXL; on the embedded toy 16 tells subject from place better than 8 and 4."""

# Words after which something else begins: "a cat | on a sofa".
_ENDS = frozenset(
    "about above across after against along among and around at before behind below beneath beside between "
    "by during for from in inside into near next of off on or outside over past that through to toward under "
    "until up while who with within without".split()
)
_ARTICLES = frozenset("a an the this that these those my your his her its our their one some is are".split())
_PICTURES = frozenset(
    "photo photos photograph picture pictures image drawing painting rendering close-up closeup shot".split()
)


def prompt_for(noun: str) -> str:
    """Return the prompt in which places look for the subject's word."""
    return f"a photo of a {noun.strip()}"


def words_of(caption: str) -> list[str]:
    """Return the words of a caption that could name something, each once, in their order.

    What remains after articles, prepositions and words for pictures; adjectives are among it.
    """
    words = re.findall(r"[^\W_]+(?:[-'][^\W_]+)*", caption)
    kept = [word for word in words if word.lower() not in _ENDS | _ARTICLES | _PICTURES]
    return list(dict.fromkeys(kept))


def noun_of(class_prompt: str | None, instance_prompt: str, identifier: str | None) -> str | None:
    """Return what the subject is called, as the prompts of a run say it; None where they do not.

    "a photo of a teddy bear on a sofa" says teddy bear. The prompt with the rare word says the words behind
    that, or, where it is not known which it is, the last of them: "a photo of sks cat in snow" says cat.

    Args:
        class_prompt: the kind of thing without the rare word; it is asked first.
        instance_prompt: what every photo is called.
        identifier: the rare word, or words.
    """
    phrase = _first_thing(class_prompt or "")
    if phrase:
        return " ".join(phrase)
    rare = (identifier or "").split()
    phrase = _first_thing(instance_prompt)
    if rare and set(rare) <= set(phrase):
        behind = phrase[max(phrase.index(word) for word in rare) + 1 :]
        return " ".join(behind) or None
    return phrase[-1] if phrase else None


def columns_of(models: Models, prompt: str, noun: str, flag: str = NOUN_FLAG) -> Bool[Tensor, " t"]:
    """Return which tokens of a prompt are a noun's, whether it is one word or several, one token or more.

    Args:
        models: whose (first) tokenizer.
        prompt: what the UNet was told.
        noun: of which it is asked.
        flag: where the noun comes from, for error texts.

    Raises:
        UserError: the noun is not in the prompt, or has no token.
    """
    tokenizer = models.tokenizers[0]
    pieces = tuple(tokenizer(noun, add_special_tokens=False).input_ids)
    found = token_positions(token_ids(tokenizer, prompt, flag), (pieces,))[0] if pieces else None
    if found is None or not found.any():
        raise UserError(
            f"{flag} {noun}: not in the prompt {prompt!r}; words of it are needed. Write them as it does."
        )
    return found


def likeness_map(
    segments: Segments, columns: Bool[Tensor, " t"], size: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    """Return how much each pixel looks at a noun, 0 (least in the photo) to 1 (most); 0 where nothing looked.

    The mean over tokens, heads, layers and resolutions: the two coarsest that have LEAST_SIDE places a side.

    Args:
        segments: with the maps of a pass with the prompt.
        columns: tokens of the noun.
        size: of the photo, or of a small copy.

    Raises:
        ValueError: there was no such pass, or the UNet does not look at prompts.
    """
    maps = segments.of_tokens
    if not maps:
        raise ValueError("no pass with a prompt, or a UNet that looks at none")
    sides = sorted(side for side in maps if side >= LEAST_SIDE)[:2] or [max(maps)]
    window = window_of(size, segments.fit)
    found = [_grid(maps[side], side)[columns].mean(dim=0, keepdim=True) for side in sides]
    mean = torch.stack([drawn(grid, size, window)[0] for grid in found]).mean(dim=0)
    low, high = mean.min(), mean.max()
    whole = np.zeros(size, np.float32)
    if high > low:
        whole[shown_part(size, window)] = ((mean - low) / (high - low)).numpy()
    return whole


def names_of_segments(
    segments: Segments,
    columns: Mapping[str, Bool[Tensor, " t"]],
    labels: Int[np.ndarray, "h w"],
    voting: Literal["mean", "majority"] = "mean",
) -> dict[int, str]:
    """Return the word that each segment looks at most, by the segment's number.

    Args:
        segments: with the maps of a pass with the prompt.
        columns: tokens of each word.
        labels: of the segments, from `Segments.labels` at any size.
        voting: compare means over the segment, or take the word that most of its pixels have.
    """
    words = list(columns)
    maps = word_maps(segments, [columns[word] for word in words], labels.shape)
    shown = shown_part(labels.shape, window_of(labels.shape, segments.fit))
    labels = labels[shown]
    best = maps.argmax(axis=0)
    names = {}
    for number in np.unique(labels):
        inside = labels == number
        if voting == "mean":
            names[int(number)] = words[int(maps[:, inside].mean(axis=1).argmax())]
        else:
            names[int(number)] = words[int(np.bincount(best[inside], minlength=len(words)).argmax())]
    return names


def word_maps(
    segments: Segments, columns: Sequence[Bool[Tensor, " t"]], size: tuple[int, int]
) -> Float[np.ndarray, "k h w"]:
    """Return how much each shown pixel looks at each word: all resolutions, each word's map of length 1.

    Args:
        segments: with the maps of a pass with the prompt.
        columns: tokens of each word.
        size: of the photo, or of a small copy.
    """
    window = window_of(size, segments.fit)
    # Over the tokens of each place the shares sum to 1, and so they do after enlarging.
    total = sum(
        drawn(torch.stack([_grid(tokens, side)[own].mean(dim=0) for own in columns]), size, window)
        for side, tokens in segments.of_tokens.items()
    )
    flat = total.flatten(1)
    # A word that nothing looks at is no longer than 0.
    return (total / flat.norm(dim=1).clamp_min(1e-12)[:, None, None]).numpy()


def _grid(tokens: Float[Tensor, "n t"], side: int) -> Float[Tensor, "t s s"]:
    """Return maps over tokens as a picture for each token."""
    return tokens.T.reshape(-1, side, side)


def _first_thing(prompt: str) -> list[str]:
    """Return the words of the first thing that a prompt names, without what it is a picture of."""
    words = re.findall(r"[^\W_]+(?:[-'][^\W_]+)*|[,.;:]", prompt)
    found: list[str] = []
    for word in words:
        lower = word.lower()
        if lower in _PICTURES or (lower == "of" and not found):
            found = []
        elif lower in _ENDS or word in ",.;:":
            if found:
                break
        elif lower not in _ARTICLES:
            found.append(word)
    return found
