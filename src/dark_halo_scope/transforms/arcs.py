"""Lenses out of keys: what `sky` draws for a survey from a generator, drawn from continuous priors by hashing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dark_halo_scope.sky.footprint import (
    BAND_FWHM_SCATTER,
    MEDIAN_FWHM_ARCSEC,
    MOFFAT_BETA_RANGE,
    NIGHT_FWHM_SCATTER,
    STAMP_FWHM_SCATTER,
)
from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.injection import InjectionPriors
from dark_halo_scope.sky.priors import Grid, Uniform
from dark_halo_scope.sky.psf import moffat
from dark_halo_scope.stamps.contract import BANDS
from dark_halo_scope.transforms.draws import normals, split_keys, uniforms
from dark_halo_scope.transforms.hosts import Hosts

_LENS, _LENS_SCATTER, _SOURCE, _SOURCE_SCATTER, _SEEING, _SEEING_SCATTER = range(6)  # streams of keys
_TEN_DEGREES = float(np.deg2rad(10))
_R = BANDS.index("r")


def continuous_priors(
    *,
    lens_models: Sequence[str],
    theta_e_arcsec: Sequence[float],
    src_dmag: Sequence[float],
    src_reff_arcsec: Sequence[float],
    src_sersic: Sequence[float],
    max_offset: float,
) -> InjectionPriors:
    """Flat priors between pairs of bounds, checked as those of a survey are.

    Raises:
        SurveyConfigError: when they cannot be rendered.
    """
    ranges = {
        "theta_e_arcsec": theta_e_arcsec,
        "src_dmag": src_dmag,
        "src_reff_arcsec": src_reff_arcsec,
        "src_sersic": src_sersic,
    }
    return InjectionPriors(
        lens_models=lens_models,
        max_offset=max_offset,
        **{name: Uniform(*bounds) for name, bounds in ranges.items()},
    )


def draw_arcs(keys: Tensor, hosts: Hosts, priors: InjectionPriors, least_theta_e_arcsec: Tensor) -> dict[str, Tensor]:
    """Columns (M,) of `scene.ARC` but the flux, for lenses at some hosts: as `sky.injection.draw_injections`.

    Mass follows light in centre and, to 10 degrees, in direction. How elongated a host is cannot be read off a
    seeing-limited stamp: the axis ratio of the mass is drawn from that of the host population.

    Args:
        keys: (M,).
        hosts: of M stamps.
        priors: uniform ones.
        least_theta_e_arcsec: (M,) the Einstein radii are drawn from what the prior has above; from its upper end alone
            where that is nothing.
    """
    u = uniforms(split_keys(keys, _LENS), 8).unbind(1)
    n = normals(split_keys(keys, _LENS_SCATTER), 3).unbind(1)
    lowest = least_theta_e_arcsec.clamp(priors.theta_e_arcsec.minimum, priors.theta_e_arcsec.maximum)
    theta_e = lowest + (priors.theta_e_arcsec.maximum - lowest) * u[0]
    host_axis_ratio = (1 - 0.22 * n[0].abs()).clamp(0.5, 0.99)
    axis_ratio = (host_axis_ratio + 0.05 * n[1]).clamp(0.5, 0.98)
    is_sis = u[1] < priors.lens_models.count("SIS") / len(priors.lens_models)
    offset, azimuth = theta_e * priors.max_offset * torch.sqrt(u[2]), 2 * torch.pi * u[3]
    return {
        "x": hosts.x,
        "y": hosts.y,
        "theta_e": theta_e,
        "lens_axis_ratio": torch.where(is_sis, 1.0, axis_ratio),
        "lens_angle": hosts.angle + _TEN_DEGREES * n[2],
        "source_x": offset * torch.cos(azimuth),
        "source_y": offset * torch.sin(azimuth),
        "reff": _between(priors.src_reff_arcsec, u[4]),
        "n": _between(priors.src_sersic, u[5]),
        "axis_ratio": 0.5 + 0.5 * u[6],
        "angle": torch.pi * u[7],
    }


def draw_fluxes(keys: Tensor, host_flux_r: Tensor, priors: InjectionPriors, faintest_dmag: Tensor) -> Tensor:
    """Nanomaggies (M, 3) of star-forming sources fainter than their hosts; colours as the survey's sources.

    Args:
        keys: (M,).
        host_flux_r: (M,) nanomaggies.
        priors: uniform ones.
        faintest_dmag: (M,) the sources are drawn from the brighter part of the prior; from its bright end alone where
            it has no such part.
    """
    u = uniforms(split_keys(keys, _SOURCE), 2).unbind(1)
    scatter = normals(split_keys(keys, _SOURCE_SCATTER), 1)[:, 0]
    faintest = faintest_dmag.clamp(priors.src_dmag.minimum, priors.src_dmag.maximum)
    dmag = priors.src_dmag.minimum + (faintest - priors.src_dmag.minimum) * u[0]
    g_r = 0.1 + 0.7 * u[1]
    r_z = 0.45 * g_r + 0.08 + 0.10 * scatter
    fainter = torch.stack([dmag + g_r, dmag, dmag - r_z], dim=1)
    return host_flux_r[:, None] * 10 ** (-0.4 * fainter)


def draw_psf(keys: Tensor, fwhm_r_arcsec: Tensor, grid: StampGrid) -> Tensor:
    """PSFs (M, 3, box, box) of stamps whose seeing in r (M,) is known: what else it leaves open is drawn.

    A night is good or bad in all bands together: g and z follow r as far as they do so in the survey.
    """
    u = uniforms(split_keys(keys, _SEEING), 1)
    n = normals(split_keys(keys, _SEEING_SCATTER), 1 + len(BANDS))
    apart = float(np.hypot(BAND_FWHM_SCATTER, STAMP_FWHM_SCATTER))
    of_night = NIGHT_FWHM_SCATTER**2 / (NIGHT_FWHM_SCATTER**2 + apart**2)  # of the variance of one band
    night = of_night * torch.log(fwhm_r_arcsec / float(MEDIAN_FWHM_ARCSEC[_R]))
    night = night + NIGHT_FWHM_SCATTER * (1 - of_night) ** 0.5 * n[:, 0]
    bands = [torch.exp(night + apart * n[:, 1 + band]) * float(m) for band, m in enumerate(MEDIAN_FWHM_ARCSEC)]
    bands[_R] = fwhm_r_arcsec
    low, high = MOFFAT_BETA_RANGE
    return moffat(grid, torch.stack(bands, dim=1), (low + (high - low) * u).expand(-1, len(BANDS)))


def _between(prior: Uniform | Grid, uniform: Tensor) -> Tensor:
    return prior.minimum + (prior.maximum - prior.minimum) * uniform
