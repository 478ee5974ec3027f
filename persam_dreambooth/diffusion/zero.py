"""DeepSpeed's ZeRO, stages 1 and 2: AdamW's moments are split over processes, or kept in the host's memory.

accelerate's settings ask for it (`accelerate config`, or `accelerate launch --use_deepspeed`). Only the
trained weights are handed to DeepSpeed, and as float32 whatever the precision of the products: its own
half-precision modes would train rounded weights. Each process keeps all weights, so that drawing, saving and
the frozen base model are as ever, and checkpoints hold whole moments in the form that they have without
ZeRO: a run goes on from one with another number of processes, or without it.

Written for deepspeed 0.19 and accelerate 1.15.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import InitProcessGroupKwargs
from jaxtyping import Float
from torch import Tensor, nn

from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import TrainConfig

STAGES = (1, 2)

_MOMENTS = ("exp_avg", "exp_avg_sq")


def uses_zero(accelerator: Accelerator) -> bool:
    """Return whether accelerate's settings ask for DeepSpeed."""
    return accelerator.distributed_type is DistributedType.DEEPSPEED


def process_group() -> list[InitProcessGroupKwargs]:
    """Return how processes reach each other where accelerate does not know: DeepSpeed without any GPU."""
    is_asked_for = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    if not is_asked_for or "LOCAL_RANK" not in os.environ or torch.accelerator.is_available():
        return []
    return [InitProcessGroupKwargs(backend="gloo")]


def zero_stage(accelerator: Accelerator) -> int | None:
    """Return the stage that accelerate's settings ask for; None without DeepSpeed."""
    return accelerator.state.deepspeed_plugin.zero_stage if uses_zero(accelerator) else None


def check_zero(stage: int | None, mixed_precision: str, settings: TrainConfig) -> None:
    """Raise UserError where DeepSpeed is set up for what the training does not do.

    Args:
        stage: from `zero_stage`.
        mixed_precision: accelerate's.
        settings: which optimizer.
    """
    if stage is None:
        return
    if stage not in STAGES:
        raise UserError(
            f"accelerate's settings: DeepSpeed with ZeRO stage {stage}; 1 or 2 is needed: 3 splits weights "
            "too, 0 nothing. Run `accelerate config`, or launch with --zero_stage 2."
        )
    if mixed_precision == "fp16":
        raise UserError(
            "--mixed_precision fp16: not with DeepSpeed, whose fp16 trains 16-bit weights. Use bf16 or no."
        )
    if settings.use_8bit_adam or settings.optimizer != "AdamW":
        name = "--use_8bit_adam" if settings.use_8bit_adam else f"--optimizer {settings.optimizer}"
        raise UserError(f"{name}: not with DeepSpeed; AdamW is needed, whose moments it splits. Drop one.")


def prepare(
    accelerator: Accelerator, networks: Networks, optimizer: torch.optim.Optimizer, settings: TrainConfig
) -> tuple[Networks, AcceleratedOptimizer]:
    """Return networks and optimizer wrapped for several processes; with ZeRO the networks stay bare.

    Args:
        accelerator: whose settings say how.
        networks: in training.
        optimizer: of their weights; with ZeRO AdamW.
        settings: batch and clipping.
    """
    if not uses_zero(accelerator):
        unet, *encoders, wrapped = accelerator.prepare(*networks.modules, optimizer)
        return replace(networks, unet=unet, text_encoders=tuple(encoders)), wrapped
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    config.pop("train_batch_size", None)
    config |= {
        "train_micro_batch_size_per_gpu": settings.train_batch_size,
        # Passes are averaged in training.py.
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.max_grad_norm,
        # With moments in the host's memory: torch's AdamW does there as well.
        "zero_force_ds_cpu_optimizer": False,
    }
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    with _float32(config):
        _, wrapped = accelerator.prepare(nn.ParameterList(weights), optimizer)
    return networks, wrapped


def autocast(accelerator: Accelerator) -> AbstractContextManager:
    """Take products in bf16 inside where that is asked for; accelerate leaves that to DeepSpeed with ZeRO."""
    wanted = uses_zero(accelerator) and accelerator.mixed_precision == "bf16"
    return torch.autocast(accelerator.device.type, torch.bfloat16) if wanted else nullcontext()


def backward(accelerator: Accelerator, loss: Float[Tensor, ""], *, is_last: bool) -> None:
    """Add a loss's gradient to that of the step; with the last pass it is summed over processes."""
    if not uses_zero(accelerator):
        accelerator.backward(loss)
        return
    engine = accelerator.deepspeed_engine_wrapped.engine
    engine.set_gradient_accumulation_boundary(is_boundary=is_last)
    engine.backward(loss)


def step(accelerator: Accelerator) -> Float[Tensor, ""]:
    """Clip the gradient, change the weights, forget the gradient; return its norm before clipping."""
    engine = accelerator.deepspeed_engine_wrapped.engine
    engine.step()
    return torch.as_tensor(engine.get_global_grad_norm(), dtype=torch.float32, device=accelerator.device)


def whole_state(optimizer: AcceleratedOptimizer) -> dict[str, Any]:
    """Return the state of the optimizer as it would be without ZeRO. Every process calls this.

    Args:
        optimizer: from `prepare`.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    split, groups = optimizer.optimizer, []
    counter, state = itertools.count(), {}
    if split.optimizer.state:
        _link(split)
    for group, weights in zip(split.param_groups, split.bit16_groups, strict=True):
        numbers = [next(counter) for _ in weights]
        groups.append({**group, "params": numbers})
        part = split.optimizer.state.get(group["params"][0], {})
        if not part:
            continue
        for number, weight in zip(numbers, weights, strict=True):
            moments = {name: safe_get_full_optimizer_state(weight, name).cpu() for name in _MOMENTS}
            state[number] = {"step": part["step"].detach().cpu().clone(), **moments}
    return {"state": state, "param_groups": groups}


def load_whole_state(optimizer: AcceleratedOptimizer, state_dict: dict[str, Any]) -> None:
    """Take a state of the optimizer, with ZeRO or without, and the weights as they are now.

    Args:
        optimizer: from `prepare`; no step was taken with it.
        state_dict: of `whole_state`, or of an AdamW of the same weights.

    Raises:
        KeyError: it is a state of other weights.
        RuntimeError: the same.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    split, state = optimizer.optimizer, state_dict["state"]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    weights = [weight for group in split.bit16_groups for weight in group]
    if len(numbers) != len(weights):
        raise RuntimeError(f"moments of {len(numbers)} weights for {len(weights)}")
    for group, saved in zip(split.param_groups, state_dict["param_groups"], strict=True):
        (part,) = group["params"]
        count = state[saved["params"][0]]["step"].to(part.device)
        moments = {name: torch.zeros_like(part) for name in _MOMENTS}
        split.optimizer.state[part] = {"step": count.clone(), **moments}
    _link(split)
    for number, weight in zip(numbers, weights, strict=True):
        safe_set_full_fp32_param(weight, weight.detach().float())
        for name in _MOMENTS:
            value = state[number][name].to(weight.device)
            if value.shape != weight.shape:
                raise RuntimeError(f"moments of shape {tuple(value.shape)} for {tuple(weight.shape)}")
            safe_set_full_optimizer_state(weight, value, name)


def _link(split: torch.optim.Optimizer) -> None:
    """Let DeepSpeed's functions find the moments of each weight.

    It does so itself in the first step, but before the moments of any group behind the first are there.
    """
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    for group, weights in zip(split.param_groups, split.bit16_groups, strict=True):
        lazy_init_hp_params_optimizer_state(weights, group["params"][0], split.optimizer.state)


@contextmanager
def _float32(config: dict[str, Any]) -> Iterator[None]:
    """Keep DeepSpeed inside from casting weights; accelerate reads the precision in these settings later."""
    kept = {name: config.pop(name, None) for name in ("bf16", "fp16")}
    try:
        yield
    finally:
        config.update({name: value for name, value in kept.items() if value is not None})
