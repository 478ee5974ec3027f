"""How far two things have the same colours.

SAM tells things apart by their outlines: features of different subjects may be all alike. Colours are a
second witness that knows nothing of outlines.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float, UInt8

_BINS = 6
"""Levels of each channel."""
_MOST_PIXELS = 2**15
_MOST_LIGHT = 2.0
"""By how much the light on the same thing may differ: a stop up or down."""


def colours_of(pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "n 3"]:
    """Return the colours of a photo's masked pixels; of many pixels, those of evenly spaced ones.

    Args:
        pixels: the photo.
        mask: True where to look; not empty.
    """
    chosen = pixels[mask]
    return chosen[:: -(-len(chosen) // _MOST_PIXELS)]


def shared_colours(known: UInt8[np.ndarray, "n 3"], found: UInt8[np.ndarray, "m 3"]) -> float:
    """Return how much of two things' colours is common, 0 to 1: the intersection of their histograms.

    What was found is first brought to the mean brightness of what is known, as far as a stop of light goes.

    Args:
        known: colours of the subject.
        found: colours of what may be the subject.

    Source: Swain and Ballard 1991, Color Indexing, section 3.
    """
    light = (known.mean() + 1) / (found.mean() + 1)
    lit = np.minimum(found * np.clip(light, 1 / _MOST_LIGHT, _MOST_LIGHT), 255.0)
    return float(np.minimum(colour_histogram(known.astype(float)), colour_histogram(lit)).sum())


def colour_histogram(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " bins"]:
    """Return the share of each bin of the RGB cube; sums to 1.

    A colour is shared out among the eight nearest bins, so that a little change of it changes little.

    Args:
        colours: 0 to 255.
    """
    place = colours * ((_BINS - 1) / 255)
    lower = np.minimum(place.astype(np.intp), _BINS - 2)
    above = place - lower
    counts = np.zeros(_BINS**3)
    for corner in itertools.product((0, 1), repeat=3):
        share = np.where(corner, above, 1 - above).prod(1)
        number = (lower + corner) @ (_BINS**2, _BINS, 1)
        counts += np.bincount(number, share, len(counts))
    return counts / len(colours)
