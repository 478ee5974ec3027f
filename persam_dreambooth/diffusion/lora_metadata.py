"""What LoRA files tell of themselves: rank and scale to diffusers, the training to people and other tools.

lora_adapter_metadata    diffusers: rank, scale, layers of each network
ss_*                     kohya's tools and A1111 show these
modelspec.*              ComfyUI, A1111 and the hub: https://github.com/Stability-AI/ModelSpec
base_model, trigger_words, settings, mask_digests, ...    this program's
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from safetensors.torch import save
from torch import Tensor

from persam_dreambooth.diffusion.low_rank import Adapter
from persam_dreambooth.diffusion.provenance import Provenance

Adapters = Mapping[str, Mapping[str, Adapter]]

_KOHYA_VERSION = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_MODELSPEC = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2-512",
    "sdxl": "stable-diffusion-xl-v1-base",
}
_MODELSPEC_V = {"sd2": "stable-diffusion-v2-768-v"}
_PREDICTION = {"v_prediction": "v"}

# Flags that kohya's tools know under a name of their own.
_SAME_AS = {
    "learning_rate": "ss_learning_rate",
    "text_encoder_lr": "ss_text_encoder_lr",
    "train_batch_size": "ss_batch_size_per_device",
    "gradient_accumulation_steps": "ss_gradient_accumulation_steps",
    "gradient_checkpointing": "ss_gradient_checkpointing",
    "lr_scheduler": "ss_lr_scheduler",
    "lr_warmup_steps": "ss_lr_warmup_steps",
    "max_grad_norm": "ss_max_grad_norm",
    "mixed_precision": "ss_mixed_precision",
    "noise_offset": "ss_noise_offset",
    "optimizer": "ss_optimizer",
    "prior_loss_weight": "ss_prior_loss_weight",
    "random_flip": "ss_flip_aug",
    "seed": "ss_seed",
    "snr_gamma": "ss_min_snr_gamma",
    "clip_skip": "ss_clip_skip",
    "caption_dropout": "ss_caption_dropout_rate",
    "lora_dropout": "ss_network_dropout",
}


def diffusers_metadata(
    adapters: Adapters, targets: Mapping[str, Sequence[str]], provenance: Provenance | None
) -> dict[str, str]:
    """Return the metadata of a file in diffusers' layout.

    Args:
        adapters: by network and layer.
        targets: ends of the names of the adapted layers, by network.
        provenance: what more to tell; None for a file that only resumes.
    """
    told = {} if provenance is None else {**_own(provenance), **_modelspec(provenance)}
    configs = {}
    for network, layers in adapters.items():
        # Only what a reader needs: other versions of peft refuse settings that they do not know, and a
        # dropout would be active in the pictures, for peft leaves new layers in training mode.
        config = {**_scale(layers), "use_dora": _use_dora(layers), "target_modules": sorted(targets[network])}
        configs |= {f"{network}.{key}": value for key, value in config.items()}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(configs, indent=2, sort_keys=True), **told}


def kohya_metadata(
    tensors: Mapping[str, Tensor], adapters: Adapters, provenance: Provenance
) -> dict[str, str]:
    """Return the metadata of a file in kohya's layout; diffusers must not see its own there.

    Args:
        tensors: of the file, for the digest by which A1111 knows it.
        adapters: by network and layer.
        provenance: what more to tell.
    """
    scale = _scale(next(iter(adapters.values())))
    side = provenance.resolution
    values = {
        **{kohya: provenance.settings.get(flag) for flag, kohya in _SAME_AS.items()},
        "ss_network_module": "networks.lora",
        "ss_network_dim": scale["r"],
        "ss_network_alpha": scale["lora_alpha"],
        "ss_base_model_version": _KOHYA_VERSION[provenance.architecture],
        "ss_v2": provenance.architecture == "sd2",
        "ss_sd_model_name": provenance.base_model,
        "ss_output_name": provenance.name,
        "ss_resolution": f"({side}, {side})",
        "ss_steps": provenance.steps,
        "ss_max_train_steps": provenance.steps,
        "ss_num_train_images": provenance.num_photos,
        "ss_num_reg_images": provenance.num_class_images,
        "ss_masked_loss": bool(provenance.mask_digests),
        "ss_tag_frequency": json.dumps({"instance": dict(provenance.prompts)}, ensure_ascii=False),
        "sshs_model_hash": _tensors_digest(tensors),
    }
    told = {name: str(value) for name, value in values.items() if value is not None}
    return {"format": "pt", **told, **_modelspec(provenance), **_own(provenance)}


def _own(provenance: Provenance) -> dict[str, str]:
    """Return what this program tells, whole: enough to train the same again."""
    records = {
        "prompts": provenance.prompts,
        "settings": provenance.settings,
        "mask_digests": provenance.mask_digests,
        "mask_areas": provenance.mask_areas,
        "versions": provenance.versions,
    }
    texts = {
        "base_model": provenance.base_model,
        "trigger_words": provenance.trigger_words,
        "instance_prompt": provenance.instance_prompt,
        "steps": str(provenance.steps),
        "summary": provenance.summary,
    }
    lists = {
        name: json.dumps(dict(record), ensure_ascii=False, default=str) for name, record in records.items()
    }
    return {**texts, **lists}


def _modelspec(provenance: Provenance) -> dict[str, str]:
    """Return the metadata that is meant for programs that show models."""
    model = provenance.architecture
    name = _MODELSPEC_V.get(model) if provenance.prediction_type == "v_prediction" else None
    values = {
        "sai_model_spec": "1.0.0",
        "architecture": f"{name or _MODELSPEC[model]}/lora",
        "implementation": "diffusers",
        "title": provenance.name,
        "trigger_phrase": provenance.trigger_words,
        "resolution": f"{provenance.resolution}x{provenance.resolution}",
        "prediction_type": _PREDICTION.get(provenance.prediction_type, provenance.prediction_type),
    }
    return {f"modelspec.{key}": value for key, value in values.items()}


def _scale(layers: Mapping[str, Adapter]) -> dict[str, int]:
    """Return rank and scale of a network's adapters, the same for all of them."""
    adapter = next(iter(layers.values()))
    return {"r": adapter.rank, "lora_alpha": int(adapter.alpha)}


def _use_dora(layers: Mapping[str, Adapter]) -> bool:
    """Return whether a network's adapters have magnitudes."""
    return next(iter(layers.values())).magnitude is not None


def _tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) of a file behind its header, as sd-scripts computes sshs_model_hash.

    Source: kohya-ss/sd-scripts, library/train_util.py, addnet_hash_safetensors.
    """
    content = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
    header = int.from_bytes(content[:8], "little")
    return hashlib.sha256(memoryview(content)[8 + header :]).hexdigest()
