"""From a scene to noiseless stamps in nanomaggies per pixel."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dark_halo_scope.sky.grid import RASTER_FACTOR, StampGrid
from dark_halo_scope.sky.lens import rotate, sie_deflection
from dark_halo_scope.sky.light import circularised_radius, sersic, sersic_modes
from dark_halo_scope.sky.scene import Scene, Table, columns

Rows = Mapping[str, Tensor]
"""Columns of one of the tables in `scene`, as tensors (N,)."""

_ARC_CELLS = 6  # per pixel along each axis: flux within 1 % for sources of reff 0.15" and n = 2, as the tests show
_ARC_BAND = 1  # r, the band of the arc's peak


@dataclass(frozen=True)
class Rendered:
    """Noiseless stamps and what lensing did to the sources.

    Attributes:
        light: (B, 3, H, W) nanomaggies per pixel.
        magnification: (arcs,) flux of the arcs inside the stamp over the flux of the source.
        arc_peak_r: (arcs,) brightest pixel of the arc alone in r, nanomaggies.
    """

    light: Tensor
    magnification: Tensor
    arc_peak_r: Tensor


def render(grid: StampGrid, scene: Scene, psf: Tensor) -> Rendered:
    """Render a scene under the PSFs (B, 3, box, box) of its stamps."""
    psf_modes = torch.fft.rfft2(psf)
    modes = torch.zeros_like(psf_modes)
    _add(modes, scene.sersics, _sersic_modes(grid, scene.sersics))
    patterns = ((scene.rings, ring_raster), (scene.spirals, spiral_raster), (scene.trails, trail_raster))
    for table, raster in patterns:
        if len(table):
            _add(modes, table, grid.raster_modes(raster(grid, columns(table))))
    magnification = arc_peak_r = torch.zeros(0)
    if len(scene.arcs):
        row = columns(scene.arcs)
        arcs = arc_raster(grid, row)
        arc_modes = grid.raster_modes(arcs)
        _add(modes, scene.arcs, arc_modes)
        magnification = arcs.sum((1, 2))
        arc_r = grid.image(arc_modes * psf_modes[row["stamp"], _ARC_BAND])
        arc_peak_r = arc_r.amax((1, 2)) * row["flux"][:, _ARC_BAND]
    return Rendered(grid.image(modes * psf_modes), magnification, arc_peak_r)


def _add(modes: Tensor, table: Table, shapes: Tensor) -> None:
    """Add unit-flux shapes (N, box, half) times their fluxes to the modes (B, 3, box, half) of their stamps."""
    row = columns(table)
    for band in range(modes.shape[1]):
        modes[:, band].index_add_(0, row["stamp"], shapes * row["flux"][:, band, None, None])


def _sersic_modes(grid: StampGrid, table: Table) -> Tensor:
    row = columns(table)
    phase_y, phase_x = grid.shift(row["x"], row["y"])
    radial = sersic_modes(grid, row["reff"], row["n"], row["axis_ratio"], row["angle"])
    return phase_y[:, :, None] * phase_x[:, None, :] * radial


def _offsets(grid: StampGrid, rows: Rows, cells_per_pixel: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Offsets x (N, 1, cells), y (N, cells, 1) from each row's place, and its columns as (N, 1, 1)."""
    axis = grid.axis(cells_per_pixel, rows["x"].device)
    row = {name: column[:, None, None] for name, column in rows.items() if name != "flux"}
    return axis[None, None, :] - row["x"], axis[None, :, None] - row["y"], row


def arc_raster(grid: StampGrid, arcs: Rows) -> Tensor:
    """Lensed images (N, raster, raster): flux per raster cell of a source of unit flux, by inverse ray shooting.

    Args:
        grid: pixels of the stamps.
        arcs: columns (N,) of `scene.ARC`; they say on which device the images are made.
    """
    x, y, row = _offsets(grid, arcs, _ARC_CELLS)
    x, y = torch.broadcast_tensors(x, y)
    alpha_x, alpha_y = sie_deflection(x, y, row["theta_e"], row["lens_axis_ratio"], row["lens_angle"])
    brightness = sersic(
        x - alpha_x - row["source_x"],
        y - alpha_y - row["source_y"],
        row["reff"],
        row["n"],
        row["axis_ratio"],
        row["angle"],
    )
    pooled = torch.nn.functional.avg_pool2d(brightness, _ARC_CELLS // RASTER_FACTOR)
    return pooled * (grid.pixel_arcsec / RASTER_FACTOR) ** 2


def _unit_flux(raster: Tensor) -> Tensor:
    return raster / raster.sum((1, 2), keepdim=True)


def ring_raster(grid: StampGrid, rows: Rows) -> Tensor:
    """Annuli (N, raster, raster) of unit flux inside the stamp."""
    x, y, row = _offsets(grid, rows, RASTER_FACTOR)
    r = circularised_radius(x, y, row["axis_ratio"], row["angle"])
    azimuth = torch.atan2(y, x) - row["window_angle"]
    window = torch.exp((torch.cos(azimuth) - 1) / row["window_width"] ** 2)  # von Mises, ~Gaussian when narrow
    clumps = 1 + row["clump_contrast"] * torch.cos(row["clumps"] * azimuth)
    return _unit_flux(torch.exp(-0.5 * ((r - row["radius"]) / row["width"]) ** 2) * window * clumps)


def spiral_raster(grid: StampGrid, rows: Rows) -> Tensor:
    """Spiral discs (N, raster, raster) of unit flux inside the stamp."""
    x, y, row = _offsets(grid, rows, RASTER_FACTOR)
    x_major, y_minor = rotate(x, y, row["angle"])
    y_disc = y_minor / row["axis_ratio"]
    r = torch.hypot(x_major, y_disc)
    winding = torch.log((r / row["reff"]).clamp_min(0.1)) / torch.tan(row["pitch"])
    wave = torch.cos(row["arms"] * (torch.atan2(y_disc, x_major) - winding) + row["phase"])
    arms = 1 + row["arm_contrast"] * (torch.exp(2 * (wave - 1)) - 0.3)  # narrow crests, broad troughs
    return _unit_flux(torch.exp(-1.678 * r / row["reff"]) * arms.clamp_min(0))


def trail_raster(grid: StampGrid, rows: Rows) -> Tensor:
    """Streaks (N, raster, raster) of unit flux inside the stamp."""
    x, y, row = _offsets(grid, rows, RASTER_FACTOR)
    along, across = rotate(x, y, row["angle"])
    ends = torch.sigmoid((row["length"] / 2 - along.abs()) / 0.2)
    return _unit_flux(torch.exp(-0.5 * (across / row["width"]) ** 2) * ends)
