"""What is in the sky: plausible galaxies, regions, contaminants, and arcs on the same hosts as everything else."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from dark_halo_scope.sky.config import SurveyConfig
from dark_halo_scope.sky.contaminants import CONTAMINANTS, artefacts, replace_by_stars
from dark_halo_scope.sky.footprint import draw_regions
from dark_halo_scope.sky.observe import GRID
from dark_halo_scope.sky.populations import draw_hosts, draw_neighbours
from dark_halo_scope.sky.psf import moffat
from dark_halo_scope.sky.render import render
from dark_halo_scope.sky.scene import Scene
from tests.sky.surveys import survey_config


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_hosts_look_like_luminous_red_galaxies(rng):
    hosts = draw_hosts(rng, 4000, GRID.pixel_arcsec)
    g, r, z = hosts.magnitudes.T
    assert np.percentile(r, [5, 95]) == pytest.approx([17.9, 20.1], abs=0.4)
    assert np.percentile(g - r, [5, 95]) == pytest.approx([1.2, 1.8], abs=0.1)
    assert np.percentile(r - z, [5, 95]) == pytest.approx([0.6, 1.0], abs=0.1)
    reff = hosts.light["reff"]
    assert 0.5 <= reff.min() < reff.max() <= 2.5
    assert np.corrcoef(r, np.log(reff))[0, 1] < -0.3  # brighter is larger


def test_neighbours_are_fainter_than_hosts_and_reach_beyond_the_stamp(rng):
    hosts = draw_hosts(rng, 500, GRID.pixel_arcsec)
    neighbours = draw_neighbours(rng, hosts, GRID.size * GRID.pixel_arcsec / 2, stars_per_arcsec2=0.002)
    assert 2 < len(neighbours) / 500 < 8
    assert (neighbours["flux"] > 0).all()
    assert np.abs(neighbours["x"]).max() > GRID.size * GRID.pixel_arcsec / 2
    stars = neighbours["reff"] == 0
    assert 0.1 < stars.sum() / 500 < 2


@pytest.mark.parametrize("kind", CONTAMINANTS)
def test_contaminants_add_the_light_they_declare(kind, rng):
    """Each is on the stamps it was asked for, mostly inside them, bluer than its host and fainter than the host."""
    hosts = draw_hosts(rng, 40, GRID.pixel_arcsec)
    stamps = np.arange(0, 40, 2)
    scene = CONTAMINANTS[kind](rng, hosts, stamps)
    declared = np.zeros((40, 3))
    for table in (scene.sersics, scene.arcs, scene.rings, scene.spirals, scene.trails):
        np.add.at(declared, table["stamp"], table["flux"])
    psf = moffat(GRID, torch.full((40, 3), 1.2), torch.full((40, 3), 3.0))
    light = render(GRID, scene, psf).light.sum((2, 3)).numpy()
    assert (declared[stamps] > 0).all()
    np.testing.assert_array_equal(declared[1::2], 0)
    np.testing.assert_allclose(light[stamps], declared[stamps], rtol=0.15)
    host = hosts.light["flux"]
    assert np.median(declared[stamps, 1] / host[stamps, 1]) < 1
    colour_excess = declared[stamps, 0] / declared[stamps, 1] - host[stamps, 0] / host[stamps, 1]
    assert np.median(colour_excess) > 0


def test_stars_replace_hosts(rng):
    hosts = draw_hosts(rng, 10, GRID.pixel_arcsec)
    mag_r = hosts.magnitudes[:, 1].copy()
    replace_by_stars(rng, hosts, np.array([3, 7]))
    assert set(np.flatnonzero(hosts.light["reff"] == 0)) == {3, 7}
    np.testing.assert_allclose(hosts.magnitudes[:, 1], mag_r, atol=1e-4)
    np.testing.assert_array_equal(hosts.light["stamp"], np.arange(10))


def test_artefacts_are_in_one_band(rng):
    scene = artefacts(rng, np.arange(100))
    assert ((scene.trails["flux"] > 0).sum(1) == 1).all()


def test_scene_slices_keep_the_light_of_their_stamps(rng):
    hosts = draw_hosts(rng, 6, GRID.pixel_arcsec)
    scene = Scene.empty()
    scene.sersics = hosts.light
    part = (scene + CONTAMINANTS["merger"](rng, hosts, np.array([1, 4]))).slice(4, 6)
    assert part.sersics["stamp"].tolist() == [0, 1, 0]
    assert part.rings["stamp"].tolist() == [0]
    assert scene.sersics["stamp"].tolist() == [0, 1, 2, 3, 4, 5]


def test_regions_lie_on_the_footprint_and_apart():
    config: SurveyConfig = survey_config()
    regions = draw_regions(config)
    assert {s: sum(r.split == s for r in regions) for s in ("train", "val", "test")} == dict(config.regions)
    assert len({region.brickname for region in regions}) == len(regions)
    assert all(-60 <= region.dec <= 30 for region in regions)
    assert [region.ra for region in regions] == sorted(region.ra for region in regions)
    fwhm = np.array([region.fwhm_arcsec for region in regions])
    assert fwhm.min() >= 0.9
    assert fwhm.max() <= 1.7
    assert np.corrcoef(fwhm.T)[0, 1] > 0.5


def column(table, name):
    return np.array(table[name].to_pylist(), dtype=float)


def test_hosts_seeing_depth_and_defects_do_not_know_the_class(small_survey):
    table, _ = small_survey
    lens = np.array(table["lens_model"].to_pylist()) != "CONTROL"
    galaxy = np.array(table["host_kind"].to_pylist()) != "star"
    for name in ("host_mag_g", "host_mag_r", "host_mag_z", "host_reff_arcsec"):
        values = column(table, name)
        assert ks_2samp(values[lens], values[~lens & galaxy]).pvalue > 1e-3, name
    for name in ("psf_fwhm_used_r", "psfdepth_g", "bad_pixel_frac", "cutout_ok", "wise_brightmask_frac", "ra", "dec"):
        values = column(table, name)
        assert ks_2samp(values[lens], values[~lens]).pvalue > 1e-3, name


def test_hosts_are_never_shared_and_regions_keep_to_one_split(small_survey):
    table, _ = small_survey
    assert len(set(table["host_id"].to_pylist())) == table.num_rows
    assert len(set(table["stamp_id"].to_pylist())) == table.num_rows
    split_of = dict(zip(table["region_id"].to_pylist(), table["region_split"].to_pylist(), strict=True))
    pairs = set(zip(table["region_id"].to_pylist(), table["region_split"].to_pylist(), strict=True))
    assert pairs == set(split_of.items())


def test_catalogue_of_the_injections(small_survey):
    table, images = small_survey
    lens = np.array(table["lens_model"].to_pylist()) != "CONTROL"
    assert lens.sum() * 2 == len(lens)
    theta_e, magnification = column(table, "theta_e_arcsec"), column(table, "magnification")
    assert (theta_e[~lens] == 0).all()
    assert 1.0 <= theta_e[lens].min() < 1.1
    assert 2.4 < theta_e[lens].max() <= 2.5
    assert magnification[lens].min() > 1.5
    dmag = column(table, "src_mag_r") - column(table, "host_mag_r") - column(table, "src_dmag")
    np.testing.assert_allclose(dmag[lens], 0, atol=1e-4)
    assert (np.array(table["axis_ratio"].to_pylist())[np.array(table["lens_model"].to_pylist()) == "SIS"] == 1).all()
    assert np.isfinite(images).all()


def test_bad_pixels_are_blank_and_counted(small_survey):
    table, images = small_survey
    blank = (images == 0).mean((1, 2, 3))
    np.testing.assert_allclose(blank, column(table, "bad_pixel_frac"), atol=1e-6)
    np.testing.assert_array_equal(column(table, "cutout_ok"), blank <= 0.2)
    assert 0 < (blank > 0).mean() < 0.1


def test_upstream_grid_fills_every_cell_in_every_region(grid_survey):
    table, _ = grid_survey
    lens = np.array(table["lens_model"].to_pylist()) != "CONTROL"
    names = ("region_id", "lens_model", "theta_e_arcsec", "src_dmag")
    cells = list(zip(*(np.array(table[name].to_pylist())[lens] for name in names), strict=True))
    assert len(set(cells)) == len(cells) == 90
