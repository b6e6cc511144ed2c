"""Arcs that are injected on the device, against the simulator's own renderer and against what must not change."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from dark_halo_scope.sky.footprint import draw_regions
from dark_halo_scope.sky.noise import ELECTRONS_PER_NANOMAGGY, REFERENCE_DEPTH_MAG
from dark_halo_scope.sky.observe import observe_region
from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import ARC, Scene
from dark_halo_scope.transforms.arcs import draw_arcs, draw_psf
from dark_halo_scope.transforms.draws import draw_keys, split_keys
from dark_halo_scope.transforms.hosts import Hosts, measure_hosts
from dark_halo_scope.transforms.inject import GRID, OnlineInjection
from dark_halo_scope.transforms.normalise import AnnulusAsinh, annulus_pixels, median_and_mad
from tests.sky.surveys import tiny_config
from tests.tasks.composed import composed

ROWS = torch.arange(24) * 7919
_LENSES = 1  # the stream of keys that lenses are drawn from


def injection(**overrides) -> OnlineInjection:
    config = composed("small_cnn", "online_injection")["transforms"]["inject"]
    del config["_target_"]
    return OnlineInjection(**(config | overrides))


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Hosts of r = 18.9 in sky noise, controls and lenses by turns, a stripe without data in the first."""
    generator = torch.Generator().manual_seed(5)
    axis = GRID.axis(1)
    core = torch.exp(-torch.hypot(axis, axis[:, None]) / 0.7) * torch.tensor([0.15, 0.6, 1.2])[:, None, None]
    noise = torch.randn(24, 3, 64, 64, generator=generator) * torch.tensor([0.004, 0.006, 0.013])[:, None, None]
    images = core + noise + 0.001
    images[0, 1, :, 30:33] = 0
    return {"image": images, "label": torch.arange(24) % 2, "row": ROWS}


def host_of(batch) -> Hosts:
    sky, _ = median_and_mad(batch["image"].flatten(2)[..., annulus_pixels(20, 64)])
    return measure_hosts(GRID, batch["image"][:, 1] - sky[:, 1, None, None])


def test_a_host_is_measured(batch):
    host = host_of(batch)
    true_flux = 0.6 * 2 * np.pi * (0.7 / GRID.pixel_arcsec) ** 2  # of the exponential disc, of which 93 % is inside
    np.testing.assert_allclose(host.flux_r[1:] * 0.67 / 0.93, true_flux, rtol=0.05)
    assert host.x[1:].abs().max() < 0.02
    assert host.y[1:].abs().max() < 0.02


def test_an_off_centre_and_stretched_host_is_found():
    axis, angle = GRID.axis(1), 0.6
    x, y = axis - 0.08, axis[:, None] + 0.05
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    host = measure_hosts(GRID, torch.exp(-torch.sqrt(along**2 + (across / 0.7) ** 2 + 0.1))[None])
    assert (host.x.item(), host.y.item()) == pytest.approx((0.08, -0.05), abs=0.005)
    assert host.angle.item() == pytest.approx(angle, abs=0.02)


def test_light_is_that_of_the_survey_renderer(batch):
    inject, keys, host = injection(), draw_keys(1, 0, ROWS), host_of(batch)
    sky, _ = median_and_mad(batch["image"].flatten(2)[..., annulus_pixels(20, 64)])
    found = inject.arc_light(batch["image"][:, 1] - sky[:, 1, None, None], keys)
    lens_keys = split_keys(keys, _LENSES)
    arcs = draw_arcs(lens_keys, host, inject.priors)
    scene = Scene.empty()
    scene.arcs = np.zeros(24, ARC)
    scene.arcs["stamp"] = np.arange(24)
    for name, values in arcs.items():
        scene.arcs[name] = values.numpy()
    rendered = render(GRID, scene, draw_psf(lens_keys, GRID))
    torch.testing.assert_close(found, rendered.light, rtol=1e-4, atol=1e-6)
    flux = found.sum((2, 3)) / arcs["flux"]
    torch.testing.assert_close(flux, rendered.magnification[:, None].expand(-1, 3), rtol=0.05, atol=0)
    assert (rendered.magnification > 1.5).all()  # inside the caustics


def test_draws_fill_their_priors():
    keys = draw_keys(2, 0, torch.arange(4000))
    ones = torch.ones(4000)
    arcs = draw_arcs(keys, Hosts(ones, 0 * ones, 0 * ones, 0 * ones), injection().priors)
    dmag = -2.5 * torch.log10(arcs["flux"])
    expected = {"theta_e": (0.5, 2.5), "reff": (0.15, 0.45), "n": (0.7, 2.0), "axis_ratio": (0.5, 1.0)}
    for name, (low, high) in expected.items():
        assert arcs[name].aminmax() == pytest.approx((low, high), abs=0.01)
        assert arcs[name].mean().item() == pytest.approx((low + high) / 2, abs=(high - low) / 50)
    assert dmag[:, 1].aminmax() == pytest.approx((3, 6), abs=0.01)
    g_r = dmag[:, 0] - dmag[:, 1]
    assert g_r.aminmax() == pytest.approx((0.1, 0.8), abs=0.01)
    offset = torch.hypot(arcs["source_x"], arcs["source_y"]) / arcs["theta_e"]
    assert offset.square().mean().item() == pytest.approx(0.4**2 / 2, rel=0.05)  # uniform over the disc
    assert (arcs["lens_axis_ratio"] == 1).float().mean().item() == pytest.approx(0.5, abs=0.04)
    psf = draw_psf(keys[:500], GRID)
    torch.testing.assert_close(psf.sum((2, 3)), torch.ones(500, 3))


def test_only_chosen_controls_change_and_their_labels_with_them(batch):
    inject, keys = injection(fraction=0.5), draw_keys(1, 0, ROWS)
    after = inject.choose(batch, keys)
    images = inject(after["image"], after["injected"], keys)
    changed = (images != batch["image"]).flatten(1).any(1)
    assert changed.nonzero().squeeze(1).tolist() == after["injected"].tolist()
    assert 0 < len(after["injected"]) < 12
    assert (batch["label"][changed] == 0).all()
    assert torch.equal(after["label"], torch.where(changed, 1, batch["label"]))


def test_the_fraction_is_that_of_the_controls():
    inject, rows = injection(fraction=0.25), torch.arange(8000)
    batch = {"image": torch.zeros(8000, 1), "label": rows % 2, "row": rows}
    chosen = inject.choose(batch, draw_keys(1, 0, rows))["injected"]
    assert len(chosen) / 4000 == pytest.approx(0.25, abs=0.03)
    again = inject.choose(batch, draw_keys(1, 1, rows))["injected"]
    assert len(set(chosen.tolist()) & set(again.tolist())) / 4000 == pytest.approx(0.25**2, abs=0.02)
    assert inject.expected_counts({"control": 4000, "lens": 4000}) == {"control": 3000, "lens": 5000}


def test_a_stamp_gets_its_arc_in_any_batch_and_another_one_each_epoch(batch):
    inject, controls = injection(fraction=1.0), torch.arange(0, 24, 2)
    keys = draw_keys(1, 0, ROWS)
    together = inject(batch["image"], controls, keys)
    for rows in (torch.tensor([4, 2, 5]), torch.tensor([2])):
        alone = inject(batch["image"][rows], torch.tensor([0]), keys[rows])
        torch.testing.assert_close(alone[0], together[rows[0]], rtol=0, atol=1e-6)
    other = inject(batch["image"], controls, draw_keys(1, 1, ROWS))
    assert ((other - together)[controls].abs().amax((1, 2, 3)) > 1e-3).all()
    assert inject(batch["image"], controls[:0], keys) is batch["image"]


def test_photon_noise_is_the_arcs_alone(batch):
    """Many epochs of one arc: its variance is its light over the electrons per nanomaggy."""
    inject = injection()
    image = batch["image"][2:3].expand(400, -1, -1, -1).contiguous()
    light = inject.arc_light(torch.zeros(1, 64, 64) + image[:1, 1], draw_keys(9, 0, torch.tensor([3])))[0]
    sky_sigma = torch.tensor([0.004, 0.006, 0.013])
    gain = inject.electrons_times_variance / sky_sigma**2
    keys = draw_keys(9, 0, torch.arange(400))
    inject.arc_light = lambda r_band, keys: light.expand(len(r_band), -1, -1, -1)
    added = inject(image, torch.arange(400), keys) - image
    bright = light > 0.2 * light.amax((1, 2), keepdim=True)
    torch.testing.assert_close(added.mean(0)[bright], light[bright], rtol=0, atol=0.01)
    for band in range(3):
        pixels = (added[:, band] - light[band])[:, bright[band]] / torch.sqrt(light[band][bright[band]] / gain[band])
        assert pixels.std().item() == pytest.approx(1, abs=0.08)  # the sky noise is measured: 3 %


def test_the_exposure_is_read_off_the_sky_noise():
    """Sky noise of stamps simulated at known depths gives the electrons per nanomaggy that they were exposed to."""
    region = draw_regions(tiny_config())[0]
    observed = observe_region(tiny_config(stamps_per_region=32), region)
    _, mad = median_and_mad(torch.from_numpy(observed.images).flatten(2)[..., annulus_pixels(20, 64)])
    found = injection().electrons_times_variance / (1.4826 * mad) ** 2
    depth_mag = 22.5 - 2.5 * np.log10(5 / np.sqrt([observed.catalogue[f"psfdepth_{band}"] for band in "grz"])).T
    expected = ELECTRONS_PER_NANOMAGGY * 10 ** (0.8 * (depth_mag - REFERENCE_DEPTH_MAG))
    ratio = np.median(found.numpy() / expected, axis=0)
    assert ((ratio > 0.6) & (ratio < 1.5)).all()  # seeing other than the median, and light in the annulus


def test_blank_pixels_stay_blank_and_nothing_else_gives_an_arc_away(batch):
    """The annulus and its noise are those of the controls: no scalar beyond 5 arcsec tells the classes apart."""
    inject = injection(fraction=1.0, src_dmag=[3.0, 4.0])
    controls = torch.arange(0, 24, 2)
    images = inject(batch["image"], controls, draw_keys(3, 0, ROWS))
    assert (images[0, 1, :, 30:33] == 0).all()
    assert torch.equal(images == 0, batch["image"] == 0)
    annulus = annulus_pixels(20, 64)
    before, after = (median_and_mad(stamps[controls].flatten(2)[..., annulus]) for stamps in (batch["image"], images))
    sigma = 1.4826 * before[1]
    assert ((after[0] - before[0]) / sigma).abs().max() < 0.05
    assert (after[1] / before[1] - 1).abs().max() < 0.05
    centre_moves = ((images - batch["image"])[controls][:, 0, 22:42, 22:42].amax((1, 2)) / sigma[:, 0]) > 0.5
    assert centre_moves.float().mean() > 0.8
    pixels = [stamps[controls].flatten(2)[..., annulus].flatten().numpy() for stamps in (batch["image"], images)]
    assert ks_2samp(*(p[::7] for p in pixels)).pvalue > 0.05
    assert torch.isfinite(AnnulusAsinh()(images)).all()


def test_stamps_without_light_or_sky_stay_finite():
    flat = torch.zeros(2, 3, 64, 64)
    flat[1] = -0.5
    images = injection()(flat, torch.arange(2), draw_keys(1, 0, torch.arange(2)))
    assert torch.equal(images[0], flat[0])
    assert torch.isfinite(images).all()


def test_autocast_leaves_arcs_alone_and_no_gradient_is_kept(batch):
    inject, keys, chosen = injection(), draw_keys(1, 0, ROWS), torch.tensor([0, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = inject(batch["image"], chosen, keys)
    assert not mixed.requires_grad
    assert torch.equal(mixed, inject(batch["image"], chosen, keys))


@pytest.mark.parametrize(
    "overrides", [{"fraction": 1.5}, {"theta_e_arcsec": [0.0, 1.0]}, {"src_sersic": [1.0, 4.0]}, {"max_offset": 2.0}]
)
def test_what_cannot_be_rendered_is_refused(overrides):
    with pytest.raises(SurveyConfigError):
        injection(**overrides)
