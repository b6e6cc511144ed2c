"""What shines in a set of stamps: one flat table per kind of light.

Every row names its stamp by position in the batch, so that crowded and empty stamps cost what they hold. Lengths are
arcsec, angles radians, fluxes nanomaggies in g, r, z before any lensing; a row's flux is the total of its unit-flux
shape.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Table = NDArray[np.void]

_PLACE = [("stamp", "i8"), ("x", "f4"), ("y", "f4"), ("flux", "f4", (3,))]
_SERSIC_SHAPE = [("reff", "f4"), ("n", "f4"), ("axis_ratio", "f4"), ("angle", "f4")]

SERSIC = np.dtype([*_PLACE, *_SERSIC_SHAPE])
"""A galaxy, or a star where ``reff`` is 0."""

ARC = np.dtype(
    [
        *_PLACE,
        *_SERSIC_SHAPE,
        *((name, "f4") for name in ("theta_e", "lens_axis_ratio", "lens_angle", "source_x", "source_y")),
    ]
)
"""A lensed Sersic source: (x, y) is the lens, (source_x, source_y) the source's true offset from it."""

RING = np.dtype(
    [
        *_PLACE,
        *((name, "f4") for name in ("radius", "width", "axis_ratio", "angle")),
        *((name, "f4") for name in ("window_angle", "window_width", "clumps", "clump_contrast")),
    ]
)
"""An elliptical annulus of Gaussian width, bright within ``window_width`` of ``window_angle``: rings, tidal tails."""

SPIRAL = np.dtype(
    [
        *_PLACE,
        *((name, "f4") for name in ("reff", "axis_ratio", "angle", "pitch", "phase", "arms", "arm_contrast")),
    ]
)
"""An exponential disc modulated by logarithmic arms."""

TRAIL = np.dtype([*_PLACE, ("angle", "f4"), ("length", "f4"), ("width", "f4")])
"""A straight streak left by a satellite, or by a cosmic ray that a stack did not reject."""


@dataclass
class Scene:
    """All light of a batch of stamps."""

    sersics: Table
    arcs: Table
    rings: Table
    spirals: Table
    trails: Table

    @classmethod
    def empty(cls) -> "Scene":
        """A scene without light."""
        return cls(*(np.zeros(0, dtype) for dtype in (SERSIC, ARC, RING, SPIRAL, TRAIL)))

    def __add__(self, other: "Scene") -> "Scene":
        """Both scenes' light in the same stamps."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Scene(*(np.concatenate(pair) for pair in pairs))

    def slice(self, start: int, stop: int) -> "Scene":
        """The stamps ``start`` to ``stop``, numbered from 0."""
        parts = []
        for field in fields(self):
            table = getattr(self, field.name)
            part = table[(table["stamp"] >= start) & (table["stamp"] < stop)]
            part["stamp"] -= start
            parts.append(part)
        return Scene(*parts)


def columns(table: Table) -> dict[str, Tensor]:
    """The table's columns as tensors (N,) and, for the flux, (N, 3)."""
    names = table.dtype.names or ()
    return {name: torch.from_numpy(table[name].copy()) for name in names}
