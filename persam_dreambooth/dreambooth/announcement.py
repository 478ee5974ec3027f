"""One paragraph before the first step: what will be trained, on what, from what lies ready for it.

Nothing in it is read from the settings where it can be counted in the tensors themselves: a mask that does
not work shows here.
"""

from collections.abc import Mapping

from persam_dreambooth.diffusion.adapters import has_lora
from persam_dreambooth.diffusion.background_share import background_share, describe
from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.encode import Encoded
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.training import TrainingState, memory_of
from persam_dreambooth.masks.record import SubjectMask

_SEEN = {
    "keep": (
        "the photos as they are: what lies outside a mask is no target, but the network is shown it "
        "(--background random takes it out)"
    ),
    "fill": "the subject on one colour, which is learnt as any background is",
    "noise": "the subject on noise, the same for a photo in every step",
    "blur": "the subject in front of its own background, blurred; colours and light of that remain",
    "random": "the subject on colours and noise that are new in every step",
    "class": "the subject cut into class pictures, another in every step",
}
"""What enters the VAE, by --background."""


def truth(
    state: TrainingState,
    masks: Mapping[str, SubjectMask] | None,
    background: Background,
    *,
    num_photos: int,
    num_captions: int = 0,
) -> str:
    """Return the paragraph.

    Args:
        state: of the training before its first step.
        masks: of the photos that are trained on; None without.
        background: what became of the pixels outside the masks.
        num_photos: in the album, those that are left out for want of a mask included.
        num_captions: photos that are called by a caption of their own, of those that are trained on.
    """
    instance, class_images = state.examples.instance, state.examples.class_images
    sentences = [
        summary(masks, num_photos),
        *(_weights(instance, state.objective) if masks is not None else ()),
        f"The VAE sees {_SEEN[background.mode] if masks is not None else 'the photos as they are'}",
        *_captions(num_captions, instance.num_photos),
        *_class_pictures(class_images, state.objective),
        _cached(instance, class_images),
        _trained(state.trained),
        _length(state),
        f"Memory on {state.accelerator.device}: about {memory_of(state)}",
    ]
    return ". ".join(sentence.rstrip(".") for sentence in sentences) + "."


def summary(masks: Mapping[str, SubjectMask] | None, num_photos: int) -> str:
    """Return in one sentence how much of the photos the loss will see."""
    if masks is None:
        return (
            f"Masked loss: off. {num_photos} photos, no masks: the background is learnt as well "
            "(--use_persam keeps it out)"
        )
    areas = [mask.area_fraction for mask in masks.values()]
    return (
        f"Masked loss: on. {num_photos} photos, {len(areas)} masks: the subject covers {min(areas):.0%} to "
        f"{max(areas):.0%} of a photo, {sum(areas) / len(areas):.0%} on average"
    )


def _weights(instance: Encoded, objective: Objective) -> list[str]:
    """Return where the weight of the loss lies, measured on the weights themselves."""
    n = instance.num_photos
    share = background_share(instance.loss_mask[:n], instance.subject_share[:n], objective.mask_normalization)
    sentences = [describe(share, instance.names)]
    if objective.outside_prior_weight:
        sentences.append(
            "Outside the masks the model is held to what it predicted before, with weight "
            f"{objective.outside_prior_weight:g}"
        )
    return sentences


def _captions(count: int, num_photos: int) -> list[str]:
    """Return how many photos the prompt is not for, if there are any: a file beside a photo is enough."""
    return [f"{count} of {num_photos} photos are called by captions of their own"] if count else []


def _class_pictures(class_images: Encoded | None, objective: Objective) -> list[str]:
    """Return what class pictures do, if there are any."""
    if class_images is None:
        return []
    # With buckets each is there in every size.
    count = len(set(class_images.names))
    return [f"{count} class pictures, never masked, have weight {objective.prior_loss_weight:g}"]


def _cached(instance: Encoded, class_images: Encoded | None) -> str:
    """Return what is not computed again in every step, and how much of it an earlier run had computed."""
    parts = [part for part in (instance, class_images) if part is not None]
    read = sum(part.num_cached for part in parts)
    prompts = "masks, prompt embeddings"
    if any(part.source is not None for part in parts):
        return f"Cached: {prompts}; the VAE encodes photos anew in every step"
    return (
        f"Cached: {prompts}, and latents as mean and deviation, so that every step draws its own "
        f"({read} photos read from an earlier run)"
    )


def _trained(networks: Networks) -> str:
    """Return which networks learn, and how many numbers."""
    names = ["the UNet", *networks.family.text_encoder_names][: len(networks.modules)]
    parts = []
    for name, module in zip(names, networks.modules, strict=True):
        count = sum(value.numel() for value in module.parameters() if value.requires_grad)
        kind = "adapters in " if has_lora(module) else "all of "
        parts.append(f"{kind}{name} ({count:,} parameters)")
    frozen = "" if networks.text_encoders else "; the text encoders are not trained and leave the device"
    return f"Trained: {', '.join(parts)}{frozen}"


def _length(state: TrainingState) -> str:
    """Return how long the run is."""
    examples = state.examples_per_step
    passes = state.max_train_steps * examples / state.examples.instance.num_photos
    return f"{state.max_train_steps} steps of {examples} photos, {passes:.1f} passes over them"
