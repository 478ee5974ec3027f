"""Other ways to tune SAM on one masked photo, to compare PerSAM with: prompts, adapters, LoRA, three weights.

All but the last leave a Segmenter whose mask decoder was trained on the reference. It is trained where PerSAM
uses it: prompted with the most and the least similar pixel, on the mask of the single mask token and on the
likeliest of the other three, with the loss of PerSAM-F.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from persam_dreambooth.masks import persam
from persam_dreambooth.masks.persam import Reference
from persam_dreambooth.sam.segmenter import Segmenter

NUM_PROMPTS = 8
BOTTLENECK = 16
LORA_RANK = 4
LEARNING_RATE = 1e-3


def add_prompts(model: nn.Module) -> Iterator[nn.Parameter]:
    """Append learnt tokens to every prompt (prompt tuning)."""
    width = model.config.mask_decoder_config.hidden_size
    model.learnt_prompts = nn.Parameter(torch.randn(1, 1, NUM_PROMPTS, width) * 0.02)

    def append(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        sparse = torch.cat([kwargs["sparse_prompt_embeddings"], model.learnt_prompts], dim=2)
        return args, {**kwargs, "sparse_prompt_embeddings": sparse}

    model.mask_decoder.register_forward_pre_hook(append, with_kwargs=True)
    return iter([model.learnt_prompts])


def add_adapters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Add a narrow residual network behind the MLP of every layer (adapter)."""
    width = model.config.mask_decoder_config.hidden_size
    added = []
    for layer in model.mask_decoder.transformer.layers:
        adapter = nn.Sequential(nn.Linear(width, BOTTLENECK), nn.GELU(), nn.Linear(BOTTLENECK, width))
        nn.init.zeros_(adapter[2].weight)
        nn.init.zeros_(adapter[2].bias)
        layer.mlp.register_forward_hook(lambda _module, _args, out, adapter=adapter: out + adapter(out))
        added += adapter.parameters()
    return iter(added)


def add_lora(model: nn.Module) -> Iterator[nn.Parameter]:
    """Add low-rank matrices to the queries and values of every attention (LoRA)."""
    config = LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=["q_proj", "v_proj"])
    inject_adapter_in_model(config, model.mask_decoder)
    return (weight for name, weight in model.mask_decoder.named_parameters() if "lora_" in name)


TUNINGS: dict[str, Callable[[nn.Module], Iterator[nn.Parameter]]] = {
    "prompt tuning": add_prompts,
    "adapter": add_adapters,
    "LoRA": add_lora,
}


def loss_of(logits: Float[Tensor, "k n"], truth: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return dice + focal, PerSAM-F's loss, as the mean over k masks."""
    p = logits.sigmoid()
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum() + 1)
    cross_entropy = binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    p_true = p * truth + (1 - p) * (1 - truth)
    focal = (0.25 * truth + 0.75 * (1 - truth)) * (1 - p_true) ** 2 * cross_entropy
    return (dice + focal.mean(dim=1)).mean()


def tuned(
    segmenter: Segmenter, reference: Reference, kind: str, num_steps: int, seed: int = 0
) -> tuple[Segmenter, int]:
    """Return a Segmenter tuned on a reference, and how many numbers were learnt.

    Args:
        segmenter: stays as it is.
        reference: what to train on.
        kind: a key of TUNINGS.
        num_steps: of AdamW, with a cosine schedule.
        seed: of the new weights.
    """
    torch.manual_seed(seed)
    changed = Segmenter(copy.deepcopy(segmenter.model))
    parameters = [weight.requires_grad_(True) for weight in TUNINGS[kind](changed.model)]
    embedding = reference.embedding
    similarity = persam.similarity_map(segmenter, embedding, persam.fit(segmenter, [reference]).direction)
    points = torch.stack(
        [persam.pixel_of(similarity.argmax(), similarity), persam.pixel_of(similarity.argmin(), similarity)]
    )
    (height, width), (input_height, input_width) = embedding.size, embedding.input_size
    prompt = {
        "input_points": (points * torch.tensor([input_width / width, input_height / height]))[None, None],
        "input_labels": torch.tensor([[[1, 0]]]),
        "image_embeddings": embedding.features,
    }
    truth = torch.from_numpy(reference.mask).float().flatten()
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        single = changed.model(**prompt, multimask_output=False).pred_masks[0, 0]
        several = changed.model(**prompt, multimask_output=True)
        likeliest = several.pred_masks[0, 0, several.iou_scores[0, 0].argmax()]
        logits = changed.mask_logits(torch.cat([single, likeliest[None]]), embedding)
        optimizer.zero_grad()
        loss_of(logits.flatten(1), truth).backward()
        optimizer.step()
        schedule.step()
    return changed, sum(weight.numel() for weight in parameters)


def three_weights(
    mask_logits: Float[Tensor, "3 H W"], mask: Bool[Tensor, "H W"], num_steps: int = 1000
) -> Float[Tensor, " 3"]:
    """Return three free weights after PerSAM-F's recipe, which has two and a sum of one."""
    weights = nn.Parameter(torch.ones(3, 1) / 3)
    logits, truth = mask_logits.flatten(1), mask.float().flatten()
    optimizer = torch.optim.AdamW([weights], lr=1e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss_of((weights * logits).sum(dim=0, keepdim=True), truth).backward()
        optimizer.step()
        schedule.step()
    return weights.detach().flatten()
