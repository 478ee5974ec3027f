"""A clip of a disc that moves to the right, as frames and as a folder of pictures."""

import numpy as np
from PIL import Image
from sam_models import scene

from persam_dreambooth.masks.clip import Frame

FRAME = (48, 64)


def clip(num_frames=4, size=FRAME, step=3):
    """Return frames on which a disc moves to the right, and its masks."""
    pixels, mask = scene(*size)
    background = np.roll(pixels, size[0] // 2, axis=0)
    background[np.roll(mask, size[0] // 2, axis=0)] = 60
    masks = [np.roll(mask, step * number, axis=1) for number in range(num_frames)]
    frames = [
        Frame(f"{number:02}", np.where(each[..., None], np.uint8([220, 40, 30]), background))
        for number, each in enumerate(masks)
    ]
    return frames, masks


def save_clip(folder, frames):
    folder.mkdir()
    for frame in frames:
        Image.fromarray(frame.pixels).save(folder / f"{frame.name}.png")
