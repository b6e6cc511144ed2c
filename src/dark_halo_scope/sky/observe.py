"""One region's stamps: draw the sky, render it, add noise and defects, and list what went into each stamp."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dark_halo_scope.sky.config import SurveyConfig
from dark_halo_scope.sky.contaminants import ARTEFACT, CONTAMINANTS, PLAIN, STAR, artefacts, replace_by_stars
from dark_halo_scope.sky.footprint import REGION_SIDE_DEG, STAMP_FWHM_SCATTER, Region
from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.injection import Injections, draw_injections
from dark_halo_scope.sky.noise import (
    ELECTRONS_PER_NANOMAGGY,
    REFERENCE_DEPTH_MAG,
    add_noise,
    inverse_variance,
    pixel_sigma,
)
from dark_halo_scope.sky.populations import Floats, Hosts, draw_hosts, draw_neighbours
from dark_halo_scope.sky.psf import moffat, noise_pixels
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import Scene
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE

GRID = StampGrid(size=STAMP_SIZE, pixel_arcsec=PIXEL_SCALE_ARCSEC)

_STAMPS_AT_ONCE = 8  # keeps the work arrays in cache: 2x faster than a region at once, on 2 cores
_STAMP_DEPTH_SCATTER_MAG = 0.05
_SEVERE_DEFECT_SHARE = 0.2
_MAX_BAD_PIXEL_FRAC = 0.2  # above it a stamp is not cutout_ok
_BRIGHT_MASK_SHARE = 0.03


@dataclass(frozen=True)
class Observation:
    """Stamps (B, 3, 64, 64) float32 in nanomaggies and their catalogue, one list or array of length B per column."""

    images: NDArray[np.float32]
    catalogue: dict[str, Any]


@dataclass(frozen=True)
class _Exposure:
    fwhm_arcsec: Floats  # (B, 3)
    psf_depth: Floats  # (B, 3) 1 / nanomaggies^2
    electrons_per_nanomaggy: Floats  # (B, 3)


def observe_region(config: SurveyConfig, region: Region) -> Observation:
    """All stamps of a region, controls and injections in random order; a pure function of its arguments."""
    rng = np.random.default_rng([config.seed, 1, region.region_id])
    count = config.stamps_per_region
    order = rng.permutation(count)
    lensed, controls = np.sort(order[: count // 2]), np.sort(order[count // 2 :])

    hosts = draw_hosts(rng, count, GRID.pixel_arcsec)
    kinds = _draw_control_kinds(rng, config, controls)
    half_side = GRID.size * GRID.pixel_arcsec / 2
    scene = Scene.empty()
    scene.sersics = draw_neighbours(rng, hosts, half_side, region.stars_per_arcsec2)
    replace_by_stars(rng, hosts, np.flatnonzero(kinds == STAR))
    scene.sersics = np.concatenate([hosts.light, scene.sersics])
    for kind, draw in CONTAMINANTS.items():
        scene += draw(rng, hosts, np.flatnonzero(kinds == kind))
    marred = np.flatnonzero(rng.random(count) < config.artefact_fraction)
    scene += artefacts(rng, marred)
    kinds[marred] = np.where(kinds[marred] == PLAIN, ARTEFACT, kinds[marred])
    injections = draw_injections(rng, hosts, lensed, config.injections)
    scene.arcs = injections.arcs

    exposure = _expose(rng, region, count)
    normal = rng.standard_normal((count, len(BANDS), GRID.size, GRID.size), dtype=np.float32)
    images, magnification, arc_snr = _image(scene, exposure, region.moffat_beta, normal)
    bad_pixel_frac = _add_defects(rng, images, config.defect_fraction)
    catalogue = (
        _region_columns(rng, region, exposure)
        | _host_columns(region, hosts)
        | {
            "control_kind": [None if kind == "" else str(kind) for kind in kinds],
            "bad_pixel_frac": bad_pixel_frac,
            "cutout_ok": (bad_pixel_frac <= _MAX_BAD_PIXEL_FRAC).astype(np.int8),
            "wise_brightmask_frac": np.where(rng.random(count) < _BRIGHT_MASK_SHARE, rng.random(count), 0.0),
        }
    )
    return Observation(images, catalogue | _injection_columns(count, injections, magnification, arc_snr))


def _draw_control_kinds(
    rng: np.random.Generator, config: SurveyConfig, controls: NDArray[np.int64]
) -> NDArray[np.str_]:
    """Kind of each stamp (B,); empty for injections."""
    kinds = np.full(config.stamps_per_region, "", dtype="U16")
    names = list(config.control_mix)
    kinds[controls] = rng.choice(names, len(controls), p=[config.control_mix[name] for name in names])
    return kinds


def _expose(rng: np.random.Generator, region: Region, count: int) -> _Exposure:
    fwhm = region.fwhm_arcsec * np.exp(rng.normal(0, STAMP_FWHM_SCATTER, (count, len(BANDS))))
    depth_mag = region.depth_mag + rng.normal(0, _STAMP_DEPTH_SCATTER_MAG, (count, len(BANDS)))
    # Sky-limited: inverse variance grows in proportion to the exposure time, and so do the electrons of a source.
    exposure_time = 10 ** (0.8 * (depth_mag - REFERENCE_DEPTH_MAG))
    depth = inverse_variance(torch.from_numpy(depth_mag)).numpy()
    return _Exposure(fwhm, depth, ELECTRONS_PER_NANOMAGGY * exposure_time)


def _image(
    scene: Scene, exposure: _Exposure, moffat_beta: float, normal: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Noisy stamps (B, 3, H, W), and the magnification and peak S/N in r of each arc in the order of ``scene.arcs``."""
    fwhm, depth, gain = (
        torch.from_numpy(column).float()
        for column in (exposure.fwhm_arcsec, exposure.psf_depth, exposure.electrons_per_nanomaggy)
    )
    images, magnification, arc_snr = np.empty_like(normal), [], []
    for start in range(0, len(normal), _STAMPS_AT_ONCE):
        batch = slice(start, start + _STAMPS_AT_ONCE)
        psf = moffat(GRID, fwhm[batch], torch.full_like(fwhm[batch], moffat_beta))
        part = scene.slice(batch.start, batch.stop)
        rendered = render(GRID, part, psf)
        sky = pixel_sigma(depth[batch], noise_pixels(psf))
        images[batch] = add_noise(rendered.light, sky, gain[batch], torch.from_numpy(normal[batch])).numpy()
        magnification.append(rendered.magnification)
        arc_snr.append(rendered.arc_peak_r / sky[torch.from_numpy(part.arcs["stamp"]), BANDS.index("r")])
    return images, torch.cat(magnification).numpy(), torch.cat(arc_snr).numpy()


def _add_defects(rng: np.random.Generator, images: NDArray[np.float32], fraction: float) -> Floats:
    """Blank pixels without data in some stamps, in place; the fraction (B,) of each stamp's pixels that was lost.

    Most are a few columns or rows of one band, the rest the edge of an exposure that takes a large part of every band.
    """
    bad_pixel_frac = np.zeros(len(images))
    for stamp in np.flatnonzero(rng.random(len(images)) < fraction):
        bad = np.zeros(images.shape[1:], dtype=bool)
        if rng.random() < _SEVERE_DEFECT_SHARE:
            bad[:, : int(rng.integers(GRID.size // 4, GRID.size))] = True
        else:
            column = int(rng.integers(0, GRID.size - 3))
            bad[rng.integers(0, len(BANDS)), :, column : column + int(rng.integers(1, 4))] = True
        if rng.random() < 0.5:
            bad = bad.swapaxes(1, 2)
        images[stamp][bad] = 0.0
        bad_pixel_frac[stamp] = bad.mean()
    return bad_pixel_frac


def _region_columns(rng: np.random.Generator, region: Region, exposure: _Exposure) -> dict[str, Any]:
    count = len(exposure.psf_depth)
    offset_ra, offset_dec = rng.uniform(-REGION_SIDE_DEG / 2, REGION_SIDE_DEG / 2, (2, count))
    columns: dict[str, Any] = {
        "stamp_id": [f"{region.brickname}-{region.region_id:05d}-{index:05d}" for index in range(count)],
        "region_id": np.full(count, region.region_id),
        "region_split": [region.split] * count,
        "brickname": [region.brickname] * count,
        "ra": region.ra + offset_ra / np.cos(np.deg2rad(region.dec)),
        "dec": region.dec + offset_dec,
        "psf_fwhm_used_r": exposure.fwhm_arcsec[:, BANDS.index("r")],
    }
    for index, band in enumerate(BANDS):
        columns[f"psfsize_{band}"] = np.full(count, region.fwhm_arcsec[index])
        columns[f"psfdepth_{band}"] = exposure.psf_depth[:, index]
    return columns


def _host_columns(region: Region, hosts: Hosts) -> dict[str, Any]:
    count = len(hosts.light)
    stars = hosts.light["reff"] == 0
    columns: dict[str, Any] = {
        "host_id": region.region_id * 100_000 + np.arange(count),
        "host_kind": np.where(stars, "star", "early_type").tolist(),
        "host_reff_arcsec": hosts.light["reff"],
    }
    return columns | {f"host_mag_{band}": hosts.magnitudes[:, index] for index, band in enumerate(BANDS)}


def _injection_columns(count: int, injections: Injections, magnification: Floats, arc_snr: Floats) -> dict[str, Any]:
    """Columns of the arcs; controls are null, except for the Einstein radius, which is 0."""
    stamps = injections.arcs["stamp"]
    lens_model = np.full(count, "CONTROL")
    lens_model[stamps] = injections.lens_model
    theta_e = np.zeros(count)
    theta_e[stamps] = injections.arcs["theta_e"]
    columns: dict[str, Any] = {"lens_model": lens_model.tolist(), "theta_e_arcsec": theta_e}
    values = {
        "src_dmag": injections.dmag,
        "src_mag_r": injections.mag_r,
        "src_g_r": injections.g_r,
        "src_reff_arcsec": injections.arcs["reff"],
        "axis_ratio": injections.arcs["lens_axis_ratio"],
        "magnification": magnification,
        "arc_snr": arc_snr,
    }
    for name, value in values.items():
        column = np.full(count, np.nan)
        column[stamps] = value
        columns[name] = column
    return columns
