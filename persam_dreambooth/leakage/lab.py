"""sRGB and CIELAB (D65), both ways."""

import numpy as np
from jaxtyping import Float

# Linear sRGB to XYZ, each row divided by the white point D65 (IEC 61966-2-1).
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_RGB_TO_XYZ /= _RGB_TO_XYZ.sum(axis=1, keepdims=True)
_XYZ_TO_RGB = np.linalg.inv(_RGB_TO_XYZ)
_KNEE = 6 / 29


def to_lab(levels: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Return levels of 0 to 255 as lightness (0 to 100) and two colour axes."""
    values = levels / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T
    x, y, z = np.moveaxis(np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Return the levels that a colour has; what a screen cannot show is cut off at 0 and 255."""
    y = (lab[..., 0] + 16) / 116
    roots = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(roots > _KNEE, roots**3, 3 * _KNEE**2 * (roots - 4 / 29))
    linear = (xyz @ _XYZ_TO_RGB.T).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
