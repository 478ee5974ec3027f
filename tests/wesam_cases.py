"""A random SAM with adapters, a view of a scene, and a small album with its weak labels."""

import json

import numpy as np
import torch
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.photos import read_photo
from persam_dreambooth.sam.adaptation.branches import Branches, View
from persam_dreambooth.sam.adaptation.frames import frame_of, pixel_values
from persam_dreambooth.sam.adaptation.lora import add_lora, trained_parameters
from persam_dreambooth.sam.adaptation.prompts import Prompt, decoder_prompts, mask_box
from persam_dreambooth.sam.adaptation.weak_labels import Labelled
from persam_dreambooth.sam.families import family_of


def branches_of(model=None, rank=4):
    """Return a random SAM, or this one, with adapters that change nothing yet."""
    model = random_sam() if model is None else model
    return Branches(model.eval(), add_lora(model, rank))


def stirred(branches, scale=0.3, seed=3):
    """Return the branches after their adapters got random values that matter."""
    generator = torch.Generator().manual_seed(seed)
    for value in trained_parameters(branches.adapters):
        value.data = scale * torch.randn(value.shape, generator=generator)
    return branches


def a_view(model, *, strong_is_weak=False, num_things=1, height=96, width=128):
    """Return a view of a scene: the strong one darker, with the disc's box and others as prompts."""
    pixels, mask = scene(height, width)
    family = family_of(model)
    frame = frame_of(family, (height, width), 128, "sam")
    boxes = [mask_box(mask), (5.0, 5.0, 60.0, 50.0), (40.0, 20.0, 120.0, 90.0)][:num_things]
    weak, strong = (
        pixel_values(family, one, frame, "sam") for one in (pixels, pixels if strong_is_weak else pixels // 2)
    )
    prompts = decoder_prompts([Prompt(box=box) for box in boxes], frame, 64, "mask", torch.device("cpu"))
    return View(weak, strong, prompts)


def album(folder, num_photos=3, size=(96, 128)):
    """Write photos with a disc and their boxes; return the folder, the file of boxes, and the masks."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    boxes, masks = {}, []
    for number in range(num_photos):
        pixels, mask = scene(*size, seed=number)
        Image.fromarray(pixels).save(photos / f"{number:02}.png")
        boxes[f"{number:02}.png"] = list(mask_box(mask))
        masks.append(mask)
    labels = folder / "boxes.json"
    labels.write_text(json.dumps(boxes))
    return photos, labels, masks


def labelled(folder, num_photos=3):
    """Return photos of an album with their boxes as prompts."""
    photos, _, masks = album(folder, num_photos)
    read = [read_photo(path) for path in sorted(photos.iterdir())]
    return [
        Labelled(photo.path, photo.size, photo.digest, [Prompt(box=mask_box(mask))])
        for photo, mask in zip(read, masks, strict=True)
    ]


def gradients(branches):
    """Return the adapters' gradients as one vector."""
    return torch.cat([value.grad.flatten() for value in trained_parameters(branches.adapters)])


def as_logits(mask, size=20.0):
    """Return a mask as saturated logits [1 h w]."""
    return torch.from_numpy(np.where(mask, size, -size)).float()[None]
