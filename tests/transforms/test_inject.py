"""Arcs that are injected on the device, against the simulator's own renderer and against what must not change."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from dark_halo_scope.sky.footprint import draw_regions
from dark_halo_scope.sky.noise import ELECTRONS_PER_NANOMAGGY, REFERENCE_DEPTH_MAG
from dark_halo_scope.sky.observe import observe_region
from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.sky.psf import moffat, noise_pixels
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import ARC, Scene
from dark_halo_scope.transforms.arcs import draw_arcs, draw_fluxes, draw_psf
from dark_halo_scope.transforms.draws import draw_keys, split_keys
from dark_halo_scope.transforms.inject import GRID
from dark_halo_scope.transforms.normalise import AnnulusAsinh, annulus_pixels, median_and_mad
from tests.sky.surveys import tiny_config
from tests.transforms.injected import ROWS, controls_and_lenses, host_of, injection, with_arcs

CONTROLS = torch.arange(0, 24, 2)
_LENSES = 1  # the stream of keys that lenses are drawn from
NO_LIMITS = {"min_theta_e_fwhm": 0.0, "min_arc_snr": 0.0}


@pytest.fixture(scope="module")
def batch():
    return controls_and_lenses()


@pytest.fixture(scope="module")
def observed():
    """Simulated stamps and what the simulator knows of them."""
    return observe_region(tiny_config(stamps_per_region=160), draw_regions(tiny_config())[0])


def test_light_is_that_of_the_survey_renderer(batch):
    inject, keys, host = injection(), split_keys(draw_keys(1, 0, ROWS), _LENSES), host_of(batch)
    arcs = draw_arcs(keys, host, inject.priors, torch.zeros(24))
    flux = draw_fluxes(keys, host.flux_r, inject.priors, torch.full((24,), 6.0))
    psf = draw_psf(keys, torch.full((24,), 1.2), GRID)
    light = inject.arc_shapes(arcs, psf) * flux[..., None, None]
    scene = Scene.empty()
    scene.arcs = np.zeros(24, ARC)
    scene.arcs["stamp"] = np.arange(24)
    for name, values in (arcs | {"flux": flux}).items():
        scene.arcs[name] = values.numpy()
    rendered = render(GRID, scene, psf)
    torch.testing.assert_close(light, rendered.light, rtol=1e-4, atol=1e-6)
    magnification = light.sum((2, 3)) / flux
    torch.testing.assert_close(magnification, rendered.magnification[:, None].expand(-1, 3), rtol=0.05, atol=0)
    assert (rendered.magnification > 1.5).all()  # inside the caustics


def test_an_arc_is_seen_and_spares_neither_faint_hosts_nor_shallow_exposures(batch):
    """Every host gets its arc, with S/N to be seen: else the brightness of a host would tell its label."""
    images, keys = batch["image"].clone(), draw_keys(6, 0, ROWS)
    images[CONTROLS[:6]] *= 0.4  # fainter hosts in the same sky
    images[CONTROLS[:6]] += torch.randn(images[CONTROLS[:6]].shape, generator=torch.Generator().manual_seed(1)) * 0.005
    _, mad = median_and_mad(images[:, 1].flatten(1)[:, annulus_pixels(20, 64)])

    def peaks(**limits) -> torch.Tensor:
        after = with_arcs(injection(src_dmag=[3.0, 7.0], **limits), batch | {"image": images}, CONTROLS, keys)
        assert (after["label"][CONTROLS] == 1).all()
        return ((after["image"] - images)[:, 1].amax((1, 2)) / (1.4826 * mad))[CONTROLS]

    assert (peaks(min_arc_snr=0.0) < 3).sum() > 4
    assert peaks(min_arc_snr=4.0).min() > 3.3  # it has its own photon noise


def test_arc_snr_is_that_of_the_survey(observed):
    """On the same kind of hosts under the same sky, arcs from the survey's priors have the survey's S/N."""
    catalogue = {name: np.asarray(values) for name, values in observed.catalogue.items()}
    plain = np.flatnonzero((catalogue["control_kind"] == "plain") & (catalogue["bad_pixel_frac"] == 0))
    fwhm_r = torch.from_numpy(catalogue["psf_fwhm_used_r"][plain]).float()
    one = {"image": torch.from_numpy(observed.images[plain]), "label": torch.zeros(len(plain), dtype=torch.long)}
    inject = injection(theta_e_arcsec=[1.0, 2.5], src_dmag=[3.0, 4.6], **NO_LIMITS)
    snr = []
    for epoch in range(4):
        keys = draw_keys(1, epoch, torch.from_numpy(plain))
        added = with_arcs(inject, one, torch.arange(len(plain)), keys, fwhm_r)["image"] - one["image"]
        area = noise_pixels(draw_psf(split_keys(keys, _LENSES), fwhm_r, GRID))[:, 1]
        sky_sigma = torch.rsqrt(torch.from_numpy(catalogue["psfdepth_r"][plain]) * area)
        snr.append(added[:, 1].amax((1, 2)) / sky_sigma)
    of_survey = catalogue["arc_snr"][catalogue["theta_e_arcsec"] > 0]
    for quantile in (0.25, 0.5, 0.75):
        assert np.quantile(torch.cat(snr), quantile) == pytest.approx(np.quantile(of_survey, quantile), rel=0.25)


def hidden(images):
    images[:, 1, 12:52, 12:52] = 0


def without_r(images):
    images[:, 1] = 0


def without_sky_in_r(images):
    images[:, 1, :, :20] = images[:, 1, :, 44:] = 0


def noisy(images):
    images += torch.randn(images.shape, generator=torch.Generator().manual_seed(2)) * 20


@pytest.mark.parametrize(
    ("spoil", "overrides", "fwhm_r"),
    [
        (hidden, {"theta_e_arcsec": [0.5, 2.0]}, 1.2),
        (without_r, NO_LIMITS, 1.2),
        (without_sky_in_r, {}, 1.2),
        (noisy, {}, 1.2),
        (None, {"theta_e_arcsec": [0.4, 0.7]}, 1.5),
    ],
    ids=["behind a mask", "without r, whatever the limits", "without sky", "in the noise", "unresolved"],
)
def test_where_no_arc_can_be_seen_a_control_stays_what_it_is(batch, spoil, overrides, fwhm_r):
    images = batch["image"].clone()
    if spoil:
        spoil(images)
    after = with_arcs(injection(**overrides), batch | {"image": images}, CONTROLS, draw_keys(1, 0, ROWS), fwhm_r)
    assert torch.equal(after["image"], images)
    assert torch.equal(after["label"], batch["label"])


def test_only_chosen_controls_change_and_their_labels_with_them(batch):
    after = with_arcs(injection(), batch, CONTROLS[3:7], draw_keys(1, 0, ROWS))
    changed = (after["image"] != batch["image"]).flatten(1).any(1)
    assert changed.nonzero().squeeze(1).tolist() == CONTROLS[3:7].tolist()
    assert torch.equal(after["label"], torch.where(changed, 1, batch["label"]))
    assert after.keys() == batch.keys() | {"weight"}
    assert torch.equal(after["weight"], torch.where(after["label"] == 1, 0.5, 1.5))


def test_what_a_store_has_measured_is_measured_anew(batch):
    """Float16 stamps with statistics give float32 nanomaggies without any, whether one of them gets an arc or not."""
    measured = {name: torch.zeros(24, 3) for name in ("sky", "sky_sigma", "median", "mad")}
    stored = {"image": (batch["image"] * 8).half(), "exponent": torch.full((24,), -3, dtype=torch.int8)} | measured
    for chosen in (CONTROLS, CONTROLS[:0]):
        after = with_arcs(injection(), batch | stored, chosen, draw_keys(1, 0, ROWS))
        assert after.keys() == {"image", "label", "row", "weight"}
        torch.testing.assert_close(after["image"][1::2], batch["image"][1::2], rtol=1e-3, atol=1e-4)


def test_a_stamp_gets_its_arc_in_any_batch_and_another_one_each_epoch(batch):
    inject, keys = injection(), draw_keys(1, 0, ROWS)
    fwhm_r = torch.linspace(1.0, 1.5, len(CONTROLS))
    together = with_arcs(inject, batch, CONTROLS, keys, fwhm_r)["image"]
    for places in (torch.tensor([4, 2, 5]), torch.tensor([2])):
        part = {name: values[places] for name, values in batch.items()}
        alone = with_arcs(inject, part, torch.tensor([0]), keys[places], fwhm_r[places[:1] // 2])["image"]
        torch.testing.assert_close(alone[0], together[places[0]], rtol=0, atol=1e-6)
    other = with_arcs(inject, batch, CONTROLS, draw_keys(1, 1, ROWS), fwhm_r)["image"]
    assert ((other - together)[CONTROLS].abs().amax((1, 2, 3)) > 1e-3).all()


def test_photon_noise_is_the_arcs_alone(batch):
    """Many epochs of one arc: its variance is its light over the electrons per nanomaggy."""
    inject = injection(theta_e_arcsec=[1.5, 1.5], src_dmag=[3.0, 3.0])
    image = batch["image"][2:3].expand(400, -1, -1, -1).contiguous()
    arcs = {name: torch.full((1,), value) for name, value in {"theta_e": 1.5, "lens_axis_ratio": 0.8}.items()}
    arcs |= {"reff": torch.full((1,), 0.3), "n": torch.ones(1), "axis_ratio": torch.ones(1)}
    arcs |= {name: torch.zeros(1) for name in ("x", "y", "lens_angle", "source_x", "source_y", "angle")}
    psf = moffat(GRID, torch.full((1, 3), 1.2), torch.full((1, 3), 3.2))
    shape = inject.arc_shapes(arcs, psf)
    inject.arc_shapes = lambda arcs, psf: shape.expand(len(psf), -1, -1, -1)
    keys = draw_keys(9, 0, torch.arange(400))
    one = {"image": image, "label": torch.zeros(400, dtype=torch.long)}
    added = with_arcs(inject, one, torch.arange(400), keys)["image"] - image
    host = host_of(batch).flux_r[2]
    flux = draw_fluxes(split_keys(keys, _LENSES), host.expand(400), inject.priors, torch.full((400,), 3.0))
    light = shape * flux[..., None, None]
    sky_sigma = torch.tensor([0.004, 0.006, 0.013])
    gain = inject.electrons_per_nanomaggy(sky_sigma, draw_psf(split_keys(keys, _LENSES), torch.full((400,), 1.2), GRID))
    bright = shape[0] > 0.2 * shape[0].amax((1, 2), keepdim=True)
    pixels = (added - light)[:, bright] / torch.sqrt(light / gain[..., None, None])[:, bright]
    g, r, z = (((added - light)[:, band, 32, 38]).numpy() for band in range(3))
    assert np.abs(np.corrcoef([g, r, z])[np.triu_indices(3, 1)]).max() < 0.2  # each band has its own
    assert pixels.mean().item() == pytest.approx(0, abs=0.02)
    assert pixels.std().item() == pytest.approx(1, abs=0.05)  # the sky noise is measured: 3 %


def test_the_exposure_is_read_off_the_sky_noise(observed):
    """Sky noise of stamps simulated at known depths gives the electrons per nanomaggy that they were exposed to."""
    _, mad = median_and_mad(torch.from_numpy(observed.images).flatten(2)[..., annulus_pixels(20, 64)])
    region = draw_regions(tiny_config())[0]
    psf = moffat(GRID, torch.from_numpy(region.fwhm_arcsec).float(), torch.full((3,), region.moffat_beta))
    found = injection().electrons_per_nanomaggy(1.4826 * mad, psf)
    depth_mag = 22.5 - 2.5 * np.log10(5 / np.sqrt([observed.catalogue[f"psfdepth_{band}"] for band in "grz"])).T
    expected = ELECTRONS_PER_NANOMAGGY * 10 ** (0.8 * (depth_mag - REFERENCE_DEPTH_MAG))
    ratio = np.median(found.numpy() / expected, axis=0)
    assert ((ratio > 0.78) & (ratio < 1.05)).all()  # light in the annulus adds to the noise that is measured there


def test_blank_pixels_stay_blank_and_nothing_else_gives_an_arc_away(batch):
    """The annulus and its noise are those of the controls: no scalar beyond 5 arcsec tells the classes apart."""
    images = with_arcs(injection(src_dmag=[3.0, 4.0]), batch, CONTROLS, draw_keys(3, 0, ROWS))["image"]
    assert (images[0, 1, :, 30:33] == 0).all()
    assert torch.equal(images == 0, batch["image"] == 0)
    annulus = annulus_pixels(20, 64)
    before, after = (median_and_mad(stamps[CONTROLS].flatten(2)[..., annulus]) for stamps in (batch["image"], images))
    sigma = 1.4826 * before[1]
    assert ((after[0] - before[0]) / sigma).abs().max() < 0.05
    assert (after[1] / before[1] - 1).abs().max() < 0.05
    centre_moves = ((images - batch["image"])[CONTROLS][:, 0, 22:42, 22:42].amax((1, 2)) / sigma[:, 0]) > 0.5
    assert centre_moves.float().mean() > 0.8
    pixels = [stamps[CONTROLS].flatten(2)[..., annulus].flatten().numpy() for stamps in (batch["image"], images)]
    assert ks_2samp(*(p[::7] for p in pixels)).pvalue > 0.05
    assert torch.isfinite(AnnulusAsinh()(images)).all()


@pytest.mark.parametrize("limits", [{}, NO_LIMITS], ids=["limits", "no limits"])
def test_stamps_without_light_or_sky_stay_finite(limits):
    flat = torch.zeros(2, 3, 64, 64)
    flat[1] = -0.5
    two = {"image": flat, "label": torch.zeros(2, dtype=torch.long)}
    after = with_arcs(injection(**limits), two, torch.arange(2), draw_keys(1, 0, torch.arange(2)))
    assert torch.equal(after["image"][0], flat[0])
    assert torch.isfinite(after["image"]).all()


def test_autocast_leaves_arcs_alone_and_no_gradient_is_kept(batch):
    inject, keys, chosen = injection(), draw_keys(1, 0, ROWS), torch.tensor([0, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = with_arcs(inject, batch, chosen, keys)["image"]
    assert not mixed.requires_grad
    assert torch.equal(mixed, with_arcs(inject, batch, chosen, keys)["image"])


@pytest.mark.parametrize(
    "overrides",
    [
        {"fraction": 1.0},
        {"theta_e_arcsec": [0.0, 1.0]},
        {"src_sersic": [1.0, 4.0]},
        {"max_offset": 2.0},
        {"min_arc_snr": -1.0},
        {"min_theta_e_fwhm": float("nan")},
    ],
)
def test_what_cannot_be_rendered_is_refused(overrides):
    with pytest.raises(SurveyConfigError):
        injection(**overrides)
