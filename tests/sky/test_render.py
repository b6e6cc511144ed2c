"""Rendered lenses against lenstronomy: flux and its unit, magnification, centroid, whole pictures."""

import numpy as np
import pytest
import torch
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.psf import moffat
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import ARC, SERSIC, Scene
from tests.sky.oracle import sersic_radius

GRID = StampGrid(size=64, pixel_arcsec=0.262)
FLUX = (3.0, 2.0, 1.0)
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


def stamp_psf(fwhm=1.2, beta=3.0):
    return moffat(GRID, torch.full((1, 3), fwhm), torch.full((1, 3), beta))


def rendered_arc(lens, source, x=0.11, y=-0.07, psf=None):
    scene = Scene.empty()
    scene.arcs = table(ARC, x=x, y=y, **lens, **source)
    return render(GRID, scene, stamp_psf() if psf is None else psf)


def lenstronomy_image(lens, source, psf_kernel=None, x=0.11, y=-0.07, supersampling=10):
    """Flux per pixel (64, 64) of the lensed source at unit intrinsic flux; light falls on pixel centres as ours does."""
    corner = -(GRID.size - 1) / 2 * GRID.pixel_arcsec
    data = ImageData(
        np.zeros((GRID.size, GRID.size)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=np.eye(2) * GRID.pixel_arcsec,
        exposure_time=1,
        background_rms=1,
    )
    psf = PSF("NONE") if psf_kernel is None else PSF("PIXEL", kernel_point_source=psf_kernel)
    lens_e1, lens_e2 = phi_q2_ellipticity(lens["lens_angle"], min(lens["lens_axis_ratio"], 1 - 1e-7))
    e1, e2 = phi_q2_ellipticity(source["angle"], source["axis_ratio"])
    light = LightModel(["SERSIC_ELLIPSE"])
    kwargs_source = {"amp": 1.0, "n_sersic": source["n"], "e1": e1, "e2": e2}
    kwargs_source["R_sersic"] = sersic_radius(source["reff"], source["n"])
    kwargs_source |= {"center_x": x + lens["source_x"], "center_y": y + lens["source_y"]}
    kwargs_source["amp"] = 1 / light.total_flux([kwargs_source])[0]
    kwargs_lens = {"theta_E": lens["theta_e"], "e1": lens_e1, "e2": lens_e2, "center_x": x, "center_y": y}
    model = ImageModel(
        data,
        psf,
        LensModel(["SIE"]),
        source_model_class=light,
        kwargs_numerics={"supersampling_factor": supersampling, "supersampling_convolution": False},
    )
    return model.image([kwargs_lens], [kwargs_source])


def centroid(image):
    axis = GRID.axis(1).numpy()
    return (image.sum(0) * axis).sum() / image.sum(), (image.sum(1) * axis).sum() / image.sum()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_arcs_are_lenstronomys(lens, source):
    """Magnification to 1 %, r-band flux per pixel to 1 % of the peak, centroid to a hundredth of a pixel."""
    kernel = torch.fft.fftshift(stamp_psf()[0, 1])[1:, 1:].numpy()  # odd, centred on its middle pixel
    expected = lenstronomy_image(lens, source, kernel)
    found = rendered_arc(lens, source)
    image = found.light[0, 1].numpy() / FLUX[1]
    assert found.magnification.item() == pytest.approx(lenstronomy_image(lens, source).sum(), rel=0.01)
    np.testing.assert_allclose(image, expected, atol=0.01 * expected.max())
    np.testing.assert_allclose(centroid(image), centroid(expected), atol=0.01 * GRID.pixel_arcsec)
    assert found.arc_peak_r.item() == pytest.approx(FLUX[1] * expected.max(), rel=0.01)


def test_sis_magnification_is_analytic():
    """A small source at offset beta inside the Einstein radius of an SIS is magnified 2 theta_E / beta in all."""
    lens = {"theta_e": 1.5, "lens_axis_ratio": 1.0, "lens_angle": 0.0, "source_x": 0.6, "source_y": 0.0}
    source = {"reff": 0.12, "n": 1.0, "axis_ratio": 1.0, "angle": 0.0}
    assert rendered_arc(lens, source).magnification.item() == pytest.approx(2 * 1.5 / 0.6, rel=0.02)


def test_fluxes_are_nanomaggies_per_pixel():
    """The pixels of an unlensed galaxy add up to its flux in each band, not to its flux per square arcsec."""
    scene = Scene.empty()
    scene.sersics = table(SERSIC, x=0.3, y=-0.4, reff=0.5, n=1.0, axis_ratio=0.7, angle=0.4)
    light = render(GRID, scene, stamp_psf()).light[0]
    np.testing.assert_allclose(light.sum((1, 2)), FLUX, rtol=5e-3)  # the rest is PSF wing beyond the stamp


def test_de_vaucouleurs_flux_and_half_light_radius():
    scene = Scene.empty()
    scene.sersics = table(SERSIC, reff=2.0, n=4.0, axis_ratio=1.0)
    light = render(GRID, scene, stamp_psf(fwhm=0.9)).light[0, 0] / FLUX[0]
    axis = GRID.axis(1)
    inside = torch.hypot(axis[None, :], axis[:, None]) < 2.0
    assert light[inside].sum().item() == pytest.approx(0.5, abs=0.03)  # seeing moves a little light outwards


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
    pair.arcs = table(ARC, x=0.11, y=-0.07, stamp=1, **lens, **source)
    light = render(GRID, pair, stamp_psf().repeat(2, 1, 1, 1)).light
    torch.testing.assert_close(light[1], rendered_arc(lens, source).light[0])
    assert light[0].abs().max() == 0
