"""Rendered lenses against lenstronomy: flux and its unit, magnification, centroid, whole pictures."""

import numpy as np
import pytest
import torch
from astropy.modeling.models import Moffat2D
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from scipy.signal import fftconvolve

from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.psf import moffat
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import ARC, SERSIC, Scene
from tests.sky.oracle import sersic_radius

GRID = StampGrid(size=64, pixel_arcsec=0.262)
FLUX = (3.0, 2.0, 1.0)
FWHM, BETA = 1.2, 3.0
LENS_X, LENS_Y = 0.11, -0.07
FINE = 9  # cells of the oracle per pixel
LENSES = {
    "double": {"theta_e": 1.2, "lens_axis_ratio": 0.7, "lens_angle": 0.5, "source_x": 0.5, "source_y": 0.2},
    "quad": {"theta_e": 1.8, "lens_axis_ratio": 0.55, "lens_angle": 2.0, "source_x": 0.05, "source_y": -0.04},
    "near ring": {"theta_e": 0.9, "lens_axis_ratio": 1.0, "lens_angle": 0.0, "source_x": 0.03, "source_y": 0.0},
    "wide": {"theta_e": 2.5, "lens_axis_ratio": 0.9, "lens_angle": 1.0, "source_x": -0.7, "source_y": 0.9},
}
SOURCES = {
    "disc": {"reff": 0.35, "n": 1.0, "axis_ratio": 0.6, "angle": 0.8},
    "compact": {"reff": 0.15, "n": 2.0, "axis_ratio": 0.5, "angle": 2.4},
}


def table(dtype, **values):
    row = np.zeros(1, dtype)
    for name, value in ({"flux": FLUX} | values).items():
        row[name] = value
    return row


def stamp_psf():
    return moffat(GRID, torch.full((1, 3), FWHM), torch.full((1, 3), BETA))


def rendered_arc(lens, source):
    scene = Scene.empty()
    scene.arcs = table(ARC, x=LENS_X, y=LENS_Y, **lens, **source)
    return render(GRID, scene, stamp_psf())


def on_fine_grid(x, y, lens_model, kwargs_lens, source):
    """lenstronomy's flux per fine cell (64 * FINE)^2 of a source of unit flux centred on (x, y)."""
    cells, step = GRID.size * FINE, GRID.pixel_arcsec / FINE
    corner = -(cells - 1) / 2 * step
    data = ImageData(
        np.zeros((cells, cells)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=np.eye(2) * step,
        exposure_time=1,
        background_rms=1,
    )
    e1, e2 = phi_q2_ellipticity(source["angle"], source["axis_ratio"])
    light = LightModel(["SERSIC_ELLIPSE"])
    kwargs = {"amp": 1.0, "e1": e1, "e2": e2, "center_x": x, "center_y": y}
    kwargs |= {"R_sersic": sersic_radius(source["reff"], source["n"]), "n_sersic": source["n"]}
    kwargs["amp"] = 1 / light.total_flux([kwargs])[0]
    return ImageModel(data, PSF("NONE"), LensModel(lens_model), light).image(kwargs_lens, [kwargs])


def lensed_on_fine_grid(lens, source):
    e1, e2 = phi_q2_ellipticity(lens["lens_angle"], min(lens["lens_axis_ratio"], 1 - 1e-7))
    kwargs = {"theta_E": lens["theta_e"], "e1": e1, "e2": e2, "center_x": LENS_X, "center_y": LENS_Y}
    return on_fine_grid(LENS_X + lens["source_x"], LENS_Y + lens["source_y"], ["SIE"], [kwargs], source)


def observed(fine):
    """Fine flux, convolved with the Moffat profile and sampled at the centres of the pixels, as flux per pixel."""
    step = GRID.pixel_arcsec / FINE
    axis = (np.arange(fine.shape[0] + 1) - fine.shape[0] // 2) * step
    alpha = FWHM / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    kernel = Moffat2D((BETA - 1) / (np.pi * alpha**2), 0, 0, alpha, BETA)(*np.meshgrid(axis, axis)) * step**2
    return fftconvolve(fine, kernel, mode="same")[FINE // 2 :: FINE, FINE // 2 :: FINE] * FINE**2


def centroid(image):
    axis = GRID.axis(1).numpy()
    return (image.sum(0) * axis).sum() / image.sum(), (image.sum(1) * axis).sum() / image.sum()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_arcs_are_lenstronomys(lens, source):
    """Magnification to 1 %, flux per pixel to 2 % of the peak, centroid to a fiftieth of a pixel."""
    fine = lensed_on_fine_grid(lens, source)
    expected = observed(fine)
    found = rendered_arc(lens, source)
    image = found.light[0, 1].numpy() / FLUX[1]
    assert found.magnification.item() == pytest.approx(fine.sum(), rel=0.01)
    np.testing.assert_allclose(image, expected, atol=0.02 * expected.max())
    np.testing.assert_allclose(centroid(image), centroid(expected), atol=0.02 * GRID.pixel_arcsec)
    assert found.arc_peak_r.item() == pytest.approx(FLUX[1] * expected.max(), rel=0.02)


def test_sis_magnification_is_analytic():
    """A small source at offset beta inside the Einstein radius of an SIS is magnified 2 theta_E / beta in all."""
    lens = {"theta_e": 2.2, "lens_axis_ratio": 1.0, "lens_angle": 0.0, "source_x": 1.1, "source_y": 0.0}
    source = {"reff": 0.12, "n": 1.0, "axis_ratio": 1.0, "angle": 0.0}
    assert rendered_arc(lens, source).magnification.item() == pytest.approx(2 * 2.2 / 1.1, rel=0.015)


@pytest.mark.parametrize(("n", "axis_ratio"), [(1.0, 0.4), (4.0, 0.7)])
def test_galaxies_are_lenstronomys(n, axis_ratio):
    shape = {"reff": 1.4, "n": n, "axis_ratio": axis_ratio, "angle": 0.8}
    expected = observed(on_fine_grid(LENS_X, LENS_Y, [], [], shape))
    scene = Scene.empty()
    scene.sersics = table(SERSIC, x=LENS_X, y=LENS_Y, **shape)
    image = render(GRID, scene, stamp_psf()).light[0, 1].numpy() / FLUX[1]
    np.testing.assert_allclose(image, expected, atol=0.01 * expected.max())
    assert image.sum() == pytest.approx(expected.sum(), rel=0.01)


def test_fluxes_are_nanomaggies_per_pixel():
    """The pixels of an unlensed galaxy add up to its flux in each band, not to its flux per square arcsec."""
    scene = Scene.empty()
    scene.sersics = table(SERSIC, x=0.3, y=-0.4, reff=0.5, n=1.0, axis_ratio=0.7, angle=0.4)
    light = render(GRID, scene, stamp_psf()).light[0]
    np.testing.assert_allclose(light.sum((1, 2)), FLUX, rtol=5e-3)  # the rest is PSF wing beyond the stamp


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.37, -0.21), (-5.13, 4.04)])
def test_stars_lie_where_they_are_put(x, y):
    scene = Scene.empty()
    scene.sersics = table(SERSIC, x=x, y=y, reff=0.0, n=1.0, axis_ratio=1.0)
    image = render(GRID, scene, stamp_psf()).light[0, 1].numpy()
    axis = GRID.axis(1).numpy()
    near = np.hypot(axis[None, :] - x, axis[:, None] - y) < 2.5
    x_found, y_found = centroid(np.where(near, image, 0))
    assert (x_found, y_found) == (pytest.approx(x, abs=0.02), pytest.approx(y, abs=0.02))


def test_psf_of_each_band_is_applied():
    scene = Scene.empty()
    scene.sersics = table(SERSIC, reff=0.0, n=1.0, axis_ratio=1.0, flux=(1.0, 1.0, 1.0))
    psf = moffat(GRID, torch.tensor([[1.6, 1.2, 0.9]]), torch.full((1, 3), 3.0))
    peaks = render(GRID, scene, psf).light[0].amax((1, 2))
    assert peaks[0] < peaks[1] < peaks[2]


def test_light_that_leaves_one_side_does_not_return_on_the_other():
    scene = Scene.empty()
    scene.sersics = table(SERSIC, x=9.5, y=0.0, reff=0.5, n=1.0, axis_ratio=1.0)
    image = render(GRID, scene, stamp_psf()).light[0, 0]
    assert image[:, :32].max() < 1e-3 * image.max()


def test_stamps_of_a_batch_do_not_touch_each_other():
    lens, source = LENSES["double"], SOURCES["disc"]
    pair = Scene.empty()
    pair.arcs = table(ARC, x=LENS_X, y=LENS_Y, stamp=1, **lens, **source)
    light = render(GRID, pair, stamp_psf().repeat(2, 1, 1, 1)).light
    torch.testing.assert_close(light[1], rendered_arc(lens, source).light[0])
    assert light[0].abs().max() == 0
