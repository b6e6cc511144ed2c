"""Colour images of stamps after Lupton et al. 2004: the colour of a pixel does not depend on its brightness."""

import base64
import io

import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.image import imsave
from numpy.typing import NDArray

# Nanomaggies are multiplied by these (g, r, z), so that an elliptical at z = 0.5 looks yellow and a lensed star-forming
# galaxy blue, as in the Legacy Surveys viewer.
BAND_SCALES = (6.0, 3.4, 2.2)
STRETCH = 0.2  # linear up to a few times the sky noise of a DR10 pixel, logarithmic above
FAINT_STRETCH = 0.08  # the sky noise becomes visible, and with it the faint arcs; cores saturate
SOFTENING = 6.0
_BAND_SOFTENING = 3.0  # sky sigmas up to which a single band is linear
_BAND_WHITE = 60.0  # sky sigmas shown as white


def lupton_rgb(stamp: NDArray[np.float32], stretch: float = STRETCH) -> NDArray[np.uint8]:
    """Compose g, r and z as blue, green and red.

    Args:
        stamp: (3, height, width) nanomaggies in the order g, r, z. Non-finite pixels are shown black.
        stretch: flux above which the scale turns logarithmic; smaller shows fainter arcs and noise.

    Returns:
        (height, width, 3) with the first row of the stamp at the bottom, as astronomers plot.
    """
    blue, green, red = (
        np.nan_to_num(band, nan=0.0, posinf=0.0, neginf=0.0) * scale
        for band, scale in zip(stamp, BAND_SCALES, strict=True)
    )
    image = make_lupton_rgb(red, green, blue, minimum=-0.02, stretch=stretch, Q=SOFTENING)
    return image[::-1]


def band_grey(band: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One band in grey, (height, width, 3): asinh in units of its sky noise, from -3 to 60 sigma.

    Sky and noise are the median and the scaled median absolute deviation of the stamp. Non-finite pixels are black.
    """
    known = band[np.isfinite(band)]
    sky = np.median(known)
    sigma = 1.4826 * np.median(np.abs(known - sky))
    level = np.arcsinh((band - sky) / (sigma or 1.0) / _BAND_SOFTENING)
    black, white = np.arcsinh(-1.0), np.arcsinh(_BAND_WHITE / _BAND_SOFTENING)
    grey = np.nan_to_num(255 * np.clip((level - black) / (white - black), 0, 1)).astype(np.uint8)
    return np.repeat(grey[::-1, :, None], 3, axis=2)


def panels(stamp: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What an inspector compares, side by side: colour at two stretches, then g, r and z: (height, 5 width, 3)."""
    colours = [lupton_rgb(stamp), lupton_rgb(stamp, FAINT_STRETCH)]
    return np.concatenate([*colours, *(band_grey(band) for band in stamp)], axis=1)


def png_data_uri(image: NDArray[np.uint8]) -> str:
    """Encode an image as a PNG that can stand in an `src` attribute."""
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(image), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
