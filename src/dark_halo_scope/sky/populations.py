"""Galaxies and stars as DECaLS sees them: hosts on the red sequence, their neighbourhood, and background sources.

The relations are fits by eye to published ones, not measurements of one catalogue: colours of luminous red galaxies
against redshift (DESI Legacy Survey LRG selection, Zhou et al. 2023, AJ 165, 58), sizes from Hyde & Bernardi 2009
(MNRAS 394, 1978), counts of field galaxies near 0.33 dex per magnitude. Controls and injections draw from the same
functions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.sky.scene import SERSIC, Table

Floats = NDArray[np.float64]

_REDSHIFT = [0.20, 0.30, 0.40, 0.50, 0.60, 0.70]
_RED_G_R = [1.15, 1.42, 1.62, 1.70, 1.74, 1.76]
_RED_R_Z = [0.58, 0.66, 0.76, 0.88, 1.00, 1.10]
_KPC_PER_ARCSEC = [3.30, 4.45, 5.37, 6.10, 6.69, 7.15]  # flat LCDM, H0 = 70, Omega_m = 0.3

_FIELD_LIMIT_R = 24.2
_FIELD_COUNT_SLOPE = 0.33  # dex per magnitude
_FIELD_PER_ARCSEC2 = 0.0075  # r < 24.2
_SATELLITES_PER_HOST = 1.1


def fluxes(mag_g: Floats, mag_r: Floats, mag_z: Floats) -> Floats:
    """Nanomaggies (N, 3) of AB magnitudes."""
    return 10 ** (0.4 * (22.5 - np.stack([mag_g, mag_r, mag_z], axis=1)))


@dataclass(frozen=True)
class Hosts:
    """Host galaxies of a batch of stamps: catalogue magnitudes (N, 3) in g, r, z and the light itself."""

    magnitudes: Floats
    light: Table
    redshift: Floats


def draw_hosts(rng: np.random.Generator, count: int, pixel_arcsec: float) -> Hosts:
    """One luminous red galaxy per stamp, centred to within half a pixel."""
    redshift = np.clip(rng.normal(0.40, 0.13, count), 0.20, 0.70)
    mean_r = 18.2 + 5.5 * (redshift - 0.30)  # massive: some 0.4 mag brighter than the mean LRG, as lenses are
    mag_r = np.clip(mean_r + rng.normal(0, 0.45, count), 17.5, 21.0)
    g_r = np.interp(redshift, _REDSHIFT, _RED_G_R) + rng.normal(0, 0.10, count)
    r_z = np.interp(redshift, _REDSHIFT, _RED_R_Z) + rng.normal(0, 0.05, count)
    reff_kpc = 8.0 * 10 ** (0.26 * (mean_r - mag_r) + rng.normal(0, 0.12, count))
    light = np.zeros(count, SERSIC)
    light["stamp"] = np.arange(count)
    light["x"], light["y"] = rng.uniform(-0.5, 0.5, (2, count)) * pixel_arcsec
    light["reff"] = np.clip(reff_kpc / np.interp(redshift, _REDSHIFT, _KPC_PER_ARCSEC), 0.5, 2.5)
    de_vaucouleurs = rng.random(count) < 0.3
    light["n"] = np.where(de_vaucouleurs, 4.0, np.clip(rng.normal(4.0, 0.8, count), 2.0, 6.0))
    light["axis_ratio"] = np.clip(1 - np.abs(rng.normal(0, 0.22, count)), 0.5, 0.99)
    light["angle"] = rng.uniform(0, np.pi, count)
    magnitudes = np.stack([mag_r + g_r, mag_r, mag_r - r_z], axis=1)
    light["flux"] = fluxes(*magnitudes.T)
    return Hosts(magnitudes, light, redshift)


def _galaxies(rng: np.random.Generator, stamp: NDArray[np.int64], mag_r: Floats, red: NDArray[np.bool_]) -> Table:
    """Galaxies without positions: early types where ``red``, blue discs elsewhere; fainter ones are smaller."""
    count = len(stamp)
    light = np.zeros(count, SERSIC)
    light["stamp"] = stamp
    g_r = np.where(red, rng.normal(1.45, 0.2, count), np.clip(rng.normal(0.55, 0.22, count), 0.0, 1.2))
    r_z = np.where(red, 0.5 * g_r, 0.45 * g_r + 0.08) + rng.normal(0, 0.10, count)
    light["flux"] = fluxes(mag_r + g_r, mag_r, mag_r - r_z)
    light["reff"] = np.clip(0.6 * 10 ** (-0.10 * (mag_r - 21.0) + rng.normal(0, 0.15, count)), 0.12, 2.0)
    light["n"] = np.where(red, rng.uniform(2.5, 5.0, count), rng.uniform(0.7, 1.8, count))
    light["axis_ratio"] = rng.uniform(0.35, 1.0, count)
    light["angle"] = rng.uniform(0, np.pi, count)
    return light


def draw_neighbours(rng: np.random.Generator, hosts: Hosts, half_side_arcsec: float, stars_per_arcsec2: float) -> Table:
    """Field galaxies, satellites (three in four red) and stars in and just around each stamp."""
    stamps = np.arange(len(hosts.light))
    half_side = half_side_arcsec + 1.0  # light of objects beyond the edge reaches in
    area = (2 * half_side) ** 2

    field = np.repeat(stamps, rng.poisson(_FIELD_PER_ARCSEC2 * area, len(stamps)))
    # Exponential in magnitude is a power law in counts; what would be brighter than 19, as another host is, gets 19.
    drop = rng.exponential(1 / (_FIELD_COUNT_SLOPE * np.log(10)), len(field))
    field_r = np.maximum(_FIELD_LIMIT_R - drop, 19.0)
    galaxies = _galaxies(rng, field, field_r, rng.random(len(field)) < 0.25)
    galaxies["x"], galaxies["y"] = rng.uniform(-half_side, half_side, (2, len(field)))

    member = np.repeat(stamps, rng.poisson(_SATELLITES_PER_HOST, len(stamps)))
    satellite_r = hosts.magnitudes[member, 1] + rng.uniform(1.5, 5.0, len(member))
    satellites = _galaxies(rng, member, satellite_r, rng.random(len(member)) < 0.75)
    distance, azimuth = rng.uniform(1.0, half_side, len(member)), rng.uniform(0, 2 * np.pi, len(member))
    satellites["x"], satellites["y"] = distance * np.cos(azimuth), distance * np.sin(azimuth)

    star = np.repeat(stamps, rng.poisson(stars_per_arcsec2 * area, len(stamps)))
    stars = draw_stars(rng, star, rng.uniform(18.0, 23.0, len(star)))
    stars["x"], stars["y"] = rng.uniform(-half_side, half_side, (2, len(star)))
    return np.concatenate([galaxies, satellites, stars])


def draw_stars(rng: np.random.Generator, stamp: NDArray[np.int64], mag_r: Floats) -> Table:
    """Point sources at the stamps' centres with colours along the stellar locus."""
    light = np.zeros(len(stamp), SERSIC)
    light["stamp"] = stamp
    g_r = rng.uniform(0.25, 1.6, len(stamp))
    # Below g - r = 1.4 (K dwarfs) r - z follows g - r; M dwarfs keep their g - r and redden in r - z.
    r_z = 0.55 * g_r - 0.05 + np.where(g_r > 1.4, rng.uniform(0, 1.0, len(stamp)), 0)
    light["flux"] = fluxes(mag_r + g_r, mag_r, mag_r - r_z + rng.normal(0, 0.04, len(stamp)))
    light["n"], light["axis_ratio"] = 1.0, 1.0
    return light


def draw_blue_galaxies(rng: np.random.Generator, stamp: NDArray[np.int64], mag_r: Floats) -> Table:
    """Star-forming galaxies at the stamps' centres, with the colours of background sources."""
    light = _galaxies(rng, stamp, mag_r, np.zeros(len(stamp), bool))
    g_r, r_z = draw_source_colours(rng, len(stamp))
    light["flux"] = fluxes(mag_r + g_r, mag_r, mag_r - r_z)
    return light


def draw_source_colours(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Colours g - r and r - z of star-forming galaxies at redshift 1 to 3: flat spectra with some dust."""
    g_r = rng.uniform(0.1, 0.8, count)
    return g_r, 0.45 * g_r + 0.08 + rng.normal(0, 0.10, count)
