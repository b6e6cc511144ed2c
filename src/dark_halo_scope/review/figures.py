"""The plots of a review."""

from typing import TYPE_CHECKING

import numpy as np

from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg

if TYPE_CHECKING:
    from dark_halo_scope.review.pixels import Saturation

_BINS = 24
_LEAST_SNR = 1.0


@house_style
def stretch(found: "Saturation") -> str:
    """What a normalisation makes of core pixels by their brightness: median, and the range of 95 % of them."""
    figure, axes = new_axes()
    bright = found.snr > _LEAST_SNR
    snr, value = found.snr[bright], found.value[bright]
    edges = np.geomspace(_LEAST_SNR, np.quantile(snr, 0.999), _BINS + 1)
    place = np.digitize(snr, edges) - 1
    shown = [k for k in range(_BINS) if np.count_nonzero(place == k) >= 5]
    centre = np.sqrt(edges[:-1] * edges[1:])[shown]
    low, middle, high = np.array([np.quantile(value[place == k], [0.025, 0.5, 0.975]) for k in shown]).T
    axes.fill_between(centre, low, high, color=LENS, alpha=0.22, lw=0, label="95 % of the pixels")
    axes.plot(centre, middle, color=LENS, label="median")
    if found.at_bound > 0:
        axes.axhline(float(found.value.max()), color=CONTROL, ls="--", lw=1.3, label="largest value")
    axes.axhline(0, color=TEXT, lw=0.8, alpha=0.4)
    axes.set_xscale("log")
    axes.set(xlabel="core pixel before, in sigma of the sky", ylabel="after normalisation")
    axes.legend(fontsize=9, loc="lower right")
    return to_svg(figure, "stretch", "Pixels of the cores of hosts before and after normalisation")
