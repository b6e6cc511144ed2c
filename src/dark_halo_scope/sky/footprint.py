"""Regions of the sky: where they lie, how good their seeing is and how deep they were exposed."""

from dataclasses import dataclass

import numpy as np

from dark_halo_scope.sky.config import SurveyConfig
from dark_halo_scope.sky.populations import Floats
from dark_halo_scope.stamps.contract import SPLITS

REGION_SIDE_DEG = 0.25  # a Legacy Survey brick
_MIN_SEPARATION_DEG = 0.5
_DEC_RANGE_DEG = (-60.0, 30.0)  # DECaLS DR10 South
_MIN_GALACTIC_LATITUDE_DEG = 18.0
_GALACTIC_POLE_DEG = (192.859, 27.128)  # J2000

# Median seeing in g, r, z over DECaLS bricks (Dey et al. 2019, AJ 157, 168) and depths of two to three visits; the
# scatters from brick to brick are round numbers.
MEDIAN_FWHM_ARCSEC = np.array([1.29, 1.18, 1.11])
FWHM_RANGE_ARCSEC = (0.9, 1.7)
NIGHT_FWHM_SCATTER = 0.10  # natural logarithm; good or bad in all bands together,
BAND_FWHM_SCATTER = 0.05  # and a little apart
STAMP_FWHM_SCATTER = 0.03  # over a brick
MOFFAT_BETA_RANGE = (2.6, 3.8)
_MEDIAN_DEPTH_MAG = np.array([24.7, 24.2, 23.3])
_DEPTH_SCATTER_MAG = 0.25


@dataclass(frozen=True)
class Region:
    """One brick of the survey; tuples run over g, r, z."""

    region_id: int
    split: str
    ra: float
    dec: float
    brickname: str
    fwhm_arcsec: Floats
    moffat_beta: float
    depth_mag: Floats
    stars_per_arcsec2: float


def _galactic_latitude(ra: float, dec: float) -> float:
    pole_ra, pole_dec = np.deg2rad(_GALACTIC_POLE_DEG)
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    sine = np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra - pole_ra)
    return float(np.rad2deg(np.arcsin(sine)))


def _centres(rng: np.random.Generator, count: int) -> Floats:
    """Centres (count, 2) on the footprint, uniform in area and apart from each other, in order of right ascension."""
    centres: list[tuple[float, float]] = []
    sine_range = np.sin(np.deg2rad(_DEC_RANGE_DEG))
    while len(centres) < count:
        ra = rng.uniform(0.2, 359.8)  # a brick must not reach across 0h
        dec = float(np.rad2deg(np.arcsin(rng.uniform(*sine_range))))
        if abs(_galactic_latitude(ra, dec)) < _MIN_GALACTIC_LATITUDE_DEG:
            continue
        if all(abs(dec - d) > _MIN_SEPARATION_DEG or abs(ra - r) > 2 * _MIN_SEPARATION_DEG for r, d in centres):
            centres.append((ra, dec))
    return np.array(sorted(centres))


def draw_regions(config: SurveyConfig) -> list[Region]:
    """The survey's regions; a pure function of the config."""
    rng = np.random.default_rng([config.seed, 0])
    count = config.number_of_regions
    splits = rng.permutation(np.repeat(SPLITS, [config.regions[split] for split in SPLITS]))
    regions = []
    for region_id, (ra, dec) in enumerate(_centres(rng, count)):
        night = rng.normal(0, NIGHT_FWHM_SCATTER)
        fwhm = MEDIAN_FWHM_ARCSEC * np.exp(night + rng.normal(0, BAND_FWHM_SCATTER, 3))
        latitude = abs(_galactic_latitude(ra, dec))
        regions.append(
            Region(
                region_id=region_id,
                split=str(splits[region_id]),
                ra=ra,
                dec=dec,
                brickname=f"{int(ra * 10):04d}{'p' if dec >= 0 else 'm'}{int(abs(dec) * 10):03d}",
                fwhm_arcsec=np.clip(fwhm, *FWHM_RANGE_ARCSEC),
                moffat_beta=rng.uniform(*MOFFAT_BETA_RANGE),
                depth_mag=_MEDIAN_DEPTH_MAG + rng.normal(0, _DEPTH_SCATTER_MAG, 3),
                stars_per_arcsec2=0.0012 / np.sin(np.deg2rad(latitude)),
            )
        )
    return regions
