"""The losses of diffusers' DreamBooth scripts, written out with PyTorch's own mse_loss, to compare with."""

import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from diffusers.training_utils import compute_snr
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion.families import added_cond_kwargs


def unet_output(unet, noisy, timesteps, conditions):
    """The UNet called as the scripts call it, the learned variance left out."""
    output = unet(
        noisy,
        timesteps,
        conditions.prompt_embeds,
        added_cond_kwargs=added_cond_kwargs(conditions),
        return_dict=False,
    )[0]
    return output.chunk(2, dim=1)[0] if output.shape[1] == 2 * noisy.shape[1] else output


def discrete_loss(unet, scheduler, batch, *, snr_gamma=None, prior_loss_weight=1.0):
    """train_dreambooth.py: a mean for photos and one for class pictures, and their weighted sum.

    Only photos are weighted by their noise, and each by its own: the script mixes in that of class pictures.
    """
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    pred = unet_output(unet, noisy, batch.timesteps, batch.conditions)
    kind, n = scheduler.config.prediction_type, batch.num_instance
    target = batch.latents if kind == "sample" else batch.noise
    if kind == "v_prediction":
        target = scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
    loss = mse_loss(pred[:n].float(), target[:n].float(), reduction="mean")
    if snr_gamma is not None:
        snr = compute_snr(scheduler, batch.timesteps[:n])
        weight = torch.stack([snr, torch.full_like(snr, snr_gamma)], dim=1).min(dim=1).values
        weight = weight / (snr + 1 if kind == "v_prediction" else snr)
        errors = mse_loss(pred[:n].float(), target[:n].float(), reduction="none")
        loss = (errors.mean(dim=(1, 2, 3)) * weight).mean()
    if len(pred) > n:
        loss = loss + prior_loss_weight * mse_loss(pred[n:].float(), target[n:].float())
    return loss


def edm_loss(unet, scheduler, batch, *, prior_loss_weight=1.0):
    """train_dreambooth_lora_sdxl.py --do_edm_style_training, each example weighted by its own noise."""
    # Told is the level that stands so far from the end of the 1000 from most to least noise.
    told = scheduler.timesteps[999 - batch.timesteps]
    sigmas = scheduler.sigmas[[(scheduler.timesteps == level).nonzero().item() for level in told]]
    sigmas = sigmas[:, None, None, None]
    noisy = batch.latents + sigmas * batch.noise
    if isinstance(scheduler, EDMEulerScheduler):
        pred = unet_output(unet, scheduler.precondition_inputs(noisy, sigmas), told, batch.conditions)
        pred, weights = scheduler.precondition_outputs(noisy, pred, sigmas), torch.ones_like(sigmas)
    else:
        pred = unet_output(unet, noisy / (sigmas**2 + 1) ** 0.5, told, batch.conditions)
        weights = sigmas**-2.0
        if scheduler.config.prediction_type == "epsilon":
            pred = pred * -sigmas + noisy
        else:
            pred = pred * (-sigmas / (sigmas**2 + 1) ** 0.5) + noisy / (sigmas**2 + 1)
    errors, n = (weights * (pred.float() - batch.latents) ** 2).flatten(1).mean(dim=1), batch.num_instance
    return errors[:n].mean() + (prior_loss_weight * errors[n:].mean() if len(errors) > n else 0)


def reference_loss(unet, scheduler, batch, **options):
    """The script's loss for the kind of scheduler."""
    formula = discrete_loss if isinstance(scheduler, DDPMScheduler) else edm_loss
    return formula(unet, scheduler, batch, **options)
