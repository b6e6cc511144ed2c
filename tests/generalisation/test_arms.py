"""Which arms a dataset allows, and what their conditions leave out."""

import numpy as np
import pyarrow as pa
import pytest

from dark_halo_scope.generalisation.arms import ArmError, choose, design
from dark_halo_scope.stamps.condition import Condition

N = 900


def catalogue(**columns) -> pa.Table:
    """A continuous survey, half of it lenses."""
    rng = np.random.default_rng(0)
    is_lens = np.arange(N) % 2 == 1
    made = {
        "lens_model": np.where(is_lens, np.where(np.arange(N) % 4 == 1, "SIE", "SIS"), "CONTROL"),
        "theta_e_arcsec": np.where(is_lens, rng.uniform(1, 2.5, N), 0).astype(np.float32),
        "src_dmag": pa.array(rng.uniform(3, 5, N), pa.float32(), mask=~is_lens),
        "psf_fwhm_used_r": rng.uniform(0.9, 1.7, N).astype(np.float32),
        "psfdepth_r": rng.uniform(300, 900, N).astype(np.float32),
        "ra": rng.uniform(0, 360, N),
    }
    return pa.table({name: values for name, values in (made | columns).items() if values is not None})


def left_out(table: pa.Table) -> dict[str, np.ndarray]:
    arms, _ = design(table)
    return {arm.name: Condition.parse(arm.leave_out).holds(table) for arm in arms if arm.leave_out}


def test_a_continuous_survey_allows_every_arm():
    arms, impossible = design(catalogue())
    assert [arm.name for arm in arms] == [
        "reference", "theta_e_low", "theta_e_middle", "theta_e_high", "sie_to_sis", "sis_to_sie", "sources_bright",
        "sources_faint", "seeing_best", "seeing_worst", "depth_shallow", "depth_deep", "sky",
    ]  # fmt: skip
    assert not impossible
    assert [arm.name for arm in arms if arm.of_controls] == [
        "seeing_best", "seeing_worst", "depth_shallow", "depth_deep", "sky"
    ]  # fmt: skip


def test_arms_of_lenses_keep_all_controls_and_the_others_take_a_third_of_both():
    table = catalogue()
    is_lens = table["lens_model"].to_numpy(zero_copy_only=False) != "CONTROL"
    arms = {arm.name: arm for arm in design(table)[0]}
    for name, out in left_out(table).items():
        share_of_lenses, share_of_controls = out[is_lens].mean(), out[~is_lens].mean()
        share = 1 / 2 if "si" in name or name == "sky" else 1 / 3
        assert share_of_lenses == pytest.approx(share, abs=0.07), name
        assert share_of_controls == pytest.approx(share if arms[name].of_controls else 0, abs=0.07), name


def test_the_thirds_of_the_einstein_radius_share_the_lenses_out():
    table = catalogue()
    out = left_out(table)
    parts = np.stack([out[f"theta_e_{third}"] for third in ("low", "middle", "high")])
    np.testing.assert_array_equal(parts.sum(axis=0), table["theta_e_arcsec"].to_numpy() > 0)


def test_the_brightest_sources_are_those_of_the_smallest_magnitude():
    table = catalogue()
    out, dmag = left_out(table), table["src_dmag"].fill_null(np.nan).to_numpy()
    assert np.nanmax(dmag[out["sources_bright"]]) < np.nanmin(dmag[out["sources_faint"]])


def test_on_a_grid_each_einstein_radius_is_an_arm():
    grid = np.where(np.arange(N) % 2, np.float32([0.3, 0.6, 1.0])[np.arange(N) // 2 % 3], np.float32(0))
    table = catalogue(theta_e_arcsec=grid)
    out = {name: rows for name, rows in left_out(table).items() if name.startswith("theta_e")}
    assert list(out) == ["theta_e_0.3", "theta_e_0.6", "theta_e_1.0"]
    for name, rows in out.items():
        np.testing.assert_array_equal(rows, grid == np.float32(name.removeprefix("theta_e_")))


def test_what_the_data_do_not_allow_is_named_with_the_reason():
    only_sie = np.where(np.arange(N) % 2 == 1, "SIE", "CONTROL")
    flat = np.full(N, 1.2, np.float32)
    arms, impossible = design(catalogue(lens_model=only_sie, psfdepth_r=None, ra=None, psf_fwhm_used_r=flat))
    assert {arm.name: arm.reason for arm in impossible} == {
        "sie_to_sis": "all lenses are of the model SIE",
        "sis_to_sie": "all lenses are of the model SIE",
        "seeing_best": "the column psf_fwhm_used_r holds one value only",
        "seeing_worst": "the column psf_fwhm_used_r holds one value only",
        "depth_shallow": "the data have no column psfdepth_r",
        "depth_deep": "the data have no column psfdepth_r",
        "sky": "the data have no column ra",
    }
    with pytest.raises(ArmError, match="--arms sky is not possible with these data: the data have no column ra"):
        choose(arms, impossible, ["sky"])


def test_arms_are_chosen_by_name_and_the_reference_always():
    arms, impossible = design(catalogue())
    assert [arm.name for arm in choose(arms, impossible, ["sky", "sie_to_sis"])] == ["reference", "sie_to_sis", "sky"]
    with pytest.raises(ArmError, match="there is no such arm; these data allow reference, theta_e_low"):
        choose(arms, impossible, ["moon"])
