"""A drawn photo of a subject in front of a place, with everything that is true about it.

A subject has an identity (colours, pattern, proportions, accessory) that stays the same from photo to photo;
a place has a number (`room`) that does too. Pose, size, position, light and camera follow from `seed`.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from persam_dreambooth.toyworld import backgrounds, captions, subjects
from persam_dreambooth.toyworld.canvas import SUPERSAMPLE, Canvas

SUBJECTS = subjects.SUBJECTS
BACKGROUNDS = backgrounds.BACKGROUNDS

VISIBLE_FRACTION = 0.5
"""A pixel belongs to the thing that covers more than this much of it."""


@dataclass(frozen=True)
class Scene:
    """A photo of the toy world and the truth about it.

    Attributes:
        image: RGB, uint8 [size size 3].
        caption: One true sentence about the photo.
        mask: The subject's visible pixels, bool [size size]; all False where there is none.
        parts: Visible pixels of each of the subject's parts, by name.
        objects: Visible pixels of each thing of the place, by name.
        subject: Its class, or None.
        background: Its place.
        identity: The number of the individual.
    """

    image: np.ndarray
    caption: str
    mask: np.ndarray
    parts: dict[str, np.ndarray]
    objects: dict[str, np.ndarray]
    subject: str | None
    background: str
    identity: int


@dataclass(frozen=True)
class _Layer:
    name: str
    of_subject: bool
    image: Image.Image
    offset: tuple[int, int] = (0, 0)


def render(
    subject: str | None,
    background: str,
    identity: int = 0,
    seed: int = 0,
    *,
    room: int | None = None,
    size: int = 128,
) -> Scene:
    """The scene that these numbers stand for; the same numbers give the same scene.

    Args:
        subject: One of SUBJECTS, or None for an empty place.
        background: One of BACKGROUNDS.
        identity: Which individual of the class.
        seed: Everything that changes between two photos of one individual at one place.
        room: Which of the many beaches, rooms, ...; one that follows from the seed if not given.
        size: Side in pixels.

    Raises:
        KeyError: For an unknown subject or background.
    """
    rng = Random(f"view {subject} {background} {identity} {seed}")
    place = Random(f"place {background} {rng.random() if room is None else room}")
    canvas = Canvas(size, size)
    ground = backgrounds.DRAW[background](canvas, place, rng)
    layers = [_Layer(part.name, False, part.image) for part in canvas.parts]
    if subject is not None:
        subject_layers = _subject_layers(subject, identity, ground, rng, size)
        layers += [_shadow(subject_layers, canvas.size), *subject_layers]
    image, shares = _composite(layers, size)
    image = _photograph(image, rng)
    seen = {index: share > VISIBLE_FRACTION for index, share in shares.items()}
    return Scene(
        image=image,
        caption=captions.caption(subject, background, identity, rng),
        mask=sum((share for i, share in shares.items() if layers[i].of_subject), np.zeros((size, size)))
        > VISIBLE_FRACTION,
        parts=_by_name(layers, seen, of_subject=True),
        objects=_by_name(layers, seen, of_subject=False),
        subject=subject,
        background=background,
        identity=identity,
    )


def _subject_layers(subject: str, identity: int, ground: float, rng: Random, size: int) -> list[_Layer]:
    """The subject's parts, posed, turned and placed with its feet on the ground line.

    Args:
        subject: One of SUBJECTS.
        identity: Which individual.
        ground: Height of the ground line, a fraction of the picture's.
        rng: This photo's random numbers.
        size: Side of the picture in pixels.
    """
    side = round(size * rng.uniform(0.48, 0.68))
    canvas = Canvas(side, side)
    subjects.DRAW[subject](canvas, subjects.identity_of(subject, identity), subjects.random_pose(rng))
    mirrored, degrees = rng.random() < 0.5, rng.uniform(-6, 6)
    feet = min(0.98, ground + rng.uniform(-0.02, 0.05)) * size
    left = rng.uniform(0.5 - 0.18, 0.5 + 0.18) * size - side / 2
    offset = (round(left * SUPERSAMPLE), round((feet - 0.96 * side) * SUPERSAMPLE))
    layers = []
    for part in canvas.parts:
        image = part.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part.image
        layers.append(_Layer(part.name, True, image.rotate(degrees, Image.Resampling.BILINEAR), offset))
    return layers


def _shadow(subject_layers: list[_Layer], full: tuple[int, int]) -> _Layer:
    """A soft dark ellipse under the subject's feet; it belongs to the place."""
    offset, width = subject_layers[0].offset, subject_layers[0].image.width
    x, y = offset[0] + width / 2, offset[1] + 0.955 * width
    alpha = Image.new("L", full, 0)
    ImageDraw.Draw(alpha).ellipse(
        [x - 0.36 * width, y - 0.05 * width, x + 0.36 * width, y + 0.05 * width], fill=110
    )
    shadow = Image.new("RGBA", full, (20, 18, 30, 0))
    shadow.putalpha(alpha.filter(ImageFilter.BoxBlur(5)))
    return _Layer("shadow", False, shadow)


def _composite(layers: list[_Layer], size: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The picture [size size 3] in 0..255 and the visible share of each pixel, by layer number."""
    flat = Image.new("RGB", (size * SUPERSAMPLE,) * 2)
    owner = Image.new("L", flat.size, 0)
    for index, layer in enumerate(layers):
        flat.paste(layer.image, layer.offset, layer.image)
        solid = layer.image.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0)
        if layer.name != "shadow":
            owner.paste(
                index, (*layer.offset, *(a + b for a, b in zip(layer.offset, solid.size, strict=True))), solid
            )
    owners = np.asarray(owner)
    blocks = (size, SUPERSAMPLE, size, SUPERSAMPLE)
    shares = {int(i): (owners == i).reshape(blocks).mean((1, 3)) for i in np.unique(owners)}
    return np.asarray(flat.reduce(SUPERSAMPLE)).astype(np.float32), shares


def _photograph(image: np.ndarray, rng: Random) -> np.ndarray:
    """The picture under this photo's light, with a little sensor noise."""
    light = rng.uniform(0.86, 1.08)
    warmth = rng.uniform(-0.06, 0.06)
    tint = np.array([light * (1 + warmth), light, light * (1 - warmth)], np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0.0, 2.0, image.shape).astype(np.float32)
    return (image * tint + noise).clip(0, 255).astype(np.uint8)


def _by_name(layers: list[_Layer], seen: dict[int, np.ndarray], *, of_subject: bool) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for index, mask in seen.items():
        layer = layers[index]
        if layer.of_subject == of_subject and layer.name != "backdrop" and mask.any():
            masks[layer.name] = masks[layer.name] | mask if layer.name in masks else mask
    return masks
