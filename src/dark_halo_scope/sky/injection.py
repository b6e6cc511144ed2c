"""Which background sources are lensed by which hosts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.sky.populations import Floats, Hosts, draw_source_colours, fluxes
from dark_halo_scope.sky.priors import Grid, SurveyConfigError, Uniform
from dark_halo_scope.sky.scene import ARC, Table

LENS_MODELS = ("SIE", "SIS")


@dataclass(frozen=True)
class InjectionPriors:
    """Distributions of the injected lenses.

    Attributes:
        lens_models: Any of SIE and SIS, drawn equally often.
        theta_e_arcsec: Einstein radius.
        src_dmag: r magnitude of the unlensed source minus that of the host; positive is fainter than the host.
        src_reff_arcsec: Half-light radius of the unlensed source.
        src_sersic: Sersic index of the source.
        max_offset: Largest offset of the source from the lens, in Einstein radii; sources are uniform over that disc.
            An SIS makes two images inside 1.
    """

    lens_models: Sequence[str]
    theta_e_arcsec: Uniform | Grid
    src_dmag: Uniform | Grid
    src_reff_arcsec: Uniform | Grid
    src_sersic: Uniform | Grid
    max_offset: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lens_models", tuple(self.lens_models))
        unknown = [model for model in self.lens_models if model not in LENS_MODELS]
        if unknown or not self.lens_models:
            raise SurveyConfigError(f"lens_models must name some of {LENS_MODELS}, got {list(self.lens_models)}")
        if self.theta_e_arcsec.minimum <= 0:
            raise SurveyConfigError(
                f"theta_e_arcsec must be positive, got a prior that reaches {self.theta_e_arcsec.minimum}"
            )
        if self.src_reff_arcsec.minimum < 0.1:
            raise SurveyConfigError(
                f"src_reff_arcsec below 0.1 is not resolved by the arc raster, got {self.src_reff_arcsec.minimum}"
            )
        if not 0.5 <= self.src_sersic.minimum <= self.src_sersic.maximum <= 2:
            raise SurveyConfigError(
                "src_sersic must lie in [0.5, 2]: the cusp of a steeper source is not resolved by the arc raster; "
                f"got {self.src_sersic.minimum} to {self.src_sersic.maximum}"
            )
        if not 0 < self.max_offset < 1:
            raise SurveyConfigError(f"max_offset must lie between 0 and 1 Einstein radii, got {self.max_offset}")


@dataclass(frozen=True)
class Injections:
    """Injected arcs and the catalogue values behind them, one per lensed stamp."""

    arcs: Table
    lens_model: NDArray[np.str_]
    dmag: Floats
    mag_r: Floats
    g_r: Floats


def draw_injections(
    rng: np.random.Generator, hosts: Hosts, stamps: NDArray[np.int64], priors: InjectionPriors
) -> Injections:
    """Lenses at the hosts of ``stamps``; mass follows light in centre and, to 10 degrees and 0.05, in shape."""
    count = len(stamps)
    model, theta_e, dmag = _lens_grid(rng, count, priors)
    host = hosts.light[stamps]
    arcs = np.zeros(count, ARC)
    arcs["stamp"], arcs["x"], arcs["y"] = stamps, host["x"], host["y"]
    arcs["theta_e"] = theta_e
    mass_axis_ratio = np.clip(host["axis_ratio"] + rng.normal(0, 0.05, count), 0.5, 0.98)
    arcs["lens_axis_ratio"] = np.where(model == "SIE", mass_axis_ratio, 1.0)
    arcs["lens_angle"] = host["angle"] + rng.normal(0, np.deg2rad(10), count)
    offset = theta_e * priors.max_offset * np.sqrt(rng.random(count))
    azimuth = rng.uniform(0, 2 * np.pi, count)
    arcs["source_x"], arcs["source_y"] = offset * np.cos(azimuth), offset * np.sin(azimuth)
    arcs["reff"] = priors.src_reff_arcsec.draw(rng, count)
    arcs["n"] = priors.src_sersic.draw(rng, count)
    arcs["axis_ratio"] = rng.uniform(0.5, 1.0, count)
    arcs["angle"] = rng.uniform(0, np.pi, count)
    mag_r = hosts.magnitudes[stamps, 1] + dmag
    g_r, r_z = draw_source_colours(rng, count)
    arcs["flux"] = fluxes(mag_r + g_r, mag_r, mag_r - r_z)
    return Injections(arcs, model, dmag, mag_r, g_r)


def _lens_grid(
    rng: np.random.Generator, count: int, priors: InjectionPriors
) -> tuple[NDArray[np.str_], Floats, Floats]:
    """Lens model, Einstein radius and source magnitude offset; a full factorial where both priors are grids."""
    if isinstance(priors.theta_e_arcsec, Grid) and isinstance(priors.src_dmag, Grid):
        axes = np.meshgrid(
            np.arange(len(priors.lens_models)), priors.theta_e_arcsec.values, priors.src_dmag.values, indexing="ij"
        )
        cells = np.stack([axis.ravel() for axis in axes], axis=1)
        deck = np.concatenate([rng.permutation(cells) for _ in range(-(-count // len(cells)))])[:count]
        return np.asarray(priors.lens_models)[deck[:, 0].astype(int)], deck[:, 1], deck[:, 2]
    model = rng.permutation(np.resize(np.asarray(priors.lens_models), count))
    return model, priors.theta_e_arcsec.draw(rng, count), priors.src_dmag.draw(rng, count)
