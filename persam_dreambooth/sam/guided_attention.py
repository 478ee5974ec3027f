"""PerSAM's two changes to SAM's mask decoder, put on for one pass and taken off again.

All SAMs in transformers (Sam, SamHQ, Sam2, the tracker of Sam3, EdgeTAM) share the two-way decoder that the
changes are made to, and in each the same is amiss: it takes `attention_similarity` and `target_embedding`,
but computes something else with them than the authors of PerSAM do:

- transformers adds the similarity to the attention *logits*; PerSAM adds it to the attention *weights* and
  takes the softmax a second time;
- it adds the target embedding to the tokens before every layer. The first addition is in place on a tensor
  that is also the tokens' positional encoding, so the encoding carries the target everywhere, exactly as in
  PerSAM; but PerSAM adds the target once more to the query of the final attention, and transformers does not.

Source: Personalize-SAM, per_segment_anything/modeling/transformer.py.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface

GUIDED_ATTENTION = "persam_guided"


def guided_attention(
    module: nn.Module,
    query: Float[Tensor, "b heads t d"],
    key: Float[Tensor, "b heads cells d"],
    value: Float[Tensor, "b heads cells d"],
    attention_mask: Float[Tensor, "..."],
    scaling: float,
    **_: Any,  # noqa: ANN401  dropout, is_causal: nothing for a decoder that is only used
) -> tuple[Float[Tensor, "b t heads d"], Float[Tensor, "b heads t cells"]]:
    """Attention whose weights are softmax(softmax(QKᵀ/√d) + similarity), and these weights.

    Both summands lie in [0, 1], so no weight is more than e² times another: attention becomes nearly even
    over the picture, tilted towards the target.

    Args:
        module: the attention layer that is being computed.
        query: the tokens' queries, one set a head.
        key: the image cells' keys.
        value: the image cells' values.
        attention_mask: the similarity, 0 to 1, in the shape of the weights or one that broadcasts to it; it
            arrives in the argument that transformers calls mask.
        scaling: 1/√d.

    Source: PerSAM, equation 8, as the authors' code computes it (no α, no softmax of the similarity).
    """
    weights = torch.softmax(query @ key.transpose(-2, -1) * scaling, dim=-1)
    weights = torch.softmax(weights + attention_mask, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(GUIDED_ATTENTION, guided_attention)


def can_be_guided(mask_decoder: nn.Module) -> bool:
    """Return whether a decoder has the parts that PerSAM changes."""
    transformer = getattr(mask_decoder, "transformer", None)
    layers = getattr(transformer, "layers", ())
    return (
        len(layers) > 0
        and all(hasattr(layer, "cross_attn_token_to_image") for layer in layers)
        and hasattr(transformer, "final_attn_token_to_image")
    )


@contextmanager
def persam_decoding(
    mask_decoder: nn.Module,
    *,
    with_similarity: bool,
    target_embedding: Float[Tensor, " c"] | None,
) -> Iterator[None]:
    """Make a decoder compute PerSAM's formulas inside the block, and stock SAM's again after it.

    Inside the block the decoder must be called with an `attention_similarity` if `with_similarity`, and with
    the `target_embedding` given here. With neither, nothing is changed.

    Args:
        mask_decoder: that of any SAM in transformers.
        with_similarity: use guided attention from the tokens to the image, in the decoder's layers; the final
            attention from tokens to image stays as it is.
        target_embedding: mean feature of the subject, not normalised, in SAM's units.
    """
    transformer = mask_decoder.transformer
    with ExitStack() as undo:
        if with_similarity:
            for layer in transformer.layers:
                undo.enter_context(_guided(layer.cross_attn_token_to_image))
        if target_embedding is not None:
            hook = _query_plus(target_embedding)
            handle = transformer.final_attn_token_to_image.register_forward_pre_hook(hook, with_kwargs=True)
            undo.callback(handle.remove)
        yield


@contextmanager
def _guided(attention: nn.Module) -> Iterator[None]:
    """Select guided attention for one layer: the config is shared by all of them, so this one gets a copy."""
    stock = attention.config
    attention.config = copy.deepcopy(stock)
    attention.config._attn_implementation = GUIDED_ATTENTION
    try:
        yield
    finally:
        attention.config = stock


def _query_plus(target_embedding: Float[Tensor, " c"]) -> Callable[[nn.Module, tuple, dict], tuple]:
    """Return a forward pre-hook that adds the target to the query, which the residual does not see."""

    def hook(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, {**kwargs, "query": kwargs["query"] + target_embedding}

    return hook
