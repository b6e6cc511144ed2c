import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.special import expit
from scipy.stats import binomtest

from dark_halo_scope.evaluation.rates import RegionResamples
from dark_halo_scope.evaluation.selection import selection_function, write_selection_function

THRESHOLDS = [
    {"name": "fpr_1e-2", "logit": 0.0, "supported": True},
    {"name": "fpr_1e-3", "logit": None, "supported": False},
    {"name": "best_f1", "logit": -1.0, "supported": True},
]


def true_completeness(theta_e, psf):
    return expit(3 * (theta_e - 1.5) - 2 * (psf - 1.3))


def lenses(n: int = 40_000) -> pa.Table:
    rng = np.random.default_rng(0)
    theta_e, psf = rng.uniform(0.5, 2.5, n), rng.uniform(0.9, 1.7, n)
    found = rng.random(n) < true_completeness(theta_e, psf)
    logit = np.where(found, 1.0, rng.choice([-0.5, -2.0], n)).astype(np.float32)
    arc_snr = pa.array(rng.exponential(20, n), mask=np.arange(n) < 100)
    return pa.table({"logit": logit, "theta_e_arcsec": theta_e, "psf_fwhm_used_r": psf, "arc_snr": arc_snr})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("selection") / "selection_function.parquet"
    write_selection_function(path, selection_function(lenses(), THRESHOLDS), {"scores": {"sha256": "abc"}})
    return path


def rows(path, threshold: str, axis_1: str, axis_2: str | None) -> pa.Table:
    table = pq.read_table(path)
    second = pc.is_null(table["axis_2"]) if axis_2 is None else pc.equal(table["axis_2"], axis_2)
    chosen = pc.and_(pc.equal(table["threshold"], threshold), pc.equal(table["axis_1"], axis_1))
    return table.filter(pc.and_(chosen, pc.fill_null(second, False)))


def test_another_program_can_interpolate_it_back_to_the_truth(written):
    table = rows(written, "fpr_1e-2", "theta_e_arcsec", "psf_fwhm_used_r")
    grid = {name: table[name].to_numpy() for name in ("low_1", "low_2", "mean_1", "mean_2", "completeness")}
    x, y = ([grid[f"mean_{a}"][grid[f"low_{a}"] == low].mean() for low in np.unique(grid[f"low_{a}"])] for a in (1, 2))
    values = grid["completeness"][np.lexsort((grid["low_2"], grid["low_1"]))].reshape(len(x), len(y))
    interpolated = RegularGridInterpolator((x, y), values)
    points = np.array([[1.0, 1.2], [1.4, 1.5], [2.0, 1.1]])
    np.testing.assert_allclose(interpolated(points), true_completeness(*points.T), atol=0.05)


def test_each_bin_counts_its_lenses(written):
    table, bins = lenses(), rows(written, "fpr_1e-2", "theta_e_arcsec", None).to_pylist()
    theta_e, found = table["theta_e_arcsec"].to_numpy(), table["logit"].to_numpy() >= 0
    for record in bins:
        inside = (theta_e >= record["low_1"]) & (theta_e < record["high_1"])
        assert (record["n"], record["found"]) == (inside.sum(), found[inside].sum())
        assert record["mean_1"] == pytest.approx(theta_e[inside].mean())
        wilson = binomtest(record["found"], record["n"]).proportion_ci(0.95, "wilson")
        assert [record["interval_low"], record["interval_high"]] == pytest.approx([wilson.low, wilson.high], abs=1e-9)
        assert record["interval_method"] == "Wilson"
    assert sum(record["n"] for record in bins) == table.num_rows


def test_thresholds_without_support_and_unknown_columns_are_left_out(written):
    table = pq.read_table(written)
    assert set(table["threshold"].to_pylist()) == {"fpr_1e-2", "best_f1"}
    assert set(table["axis_1"].to_pylist()) == {"theta_e_arcsec", "psf_fwhm_used_r", "arc_snr"}
    by_snr = rows(written, "best_f1", "arc_snr", None)
    assert sum(by_snr["n"].to_pylist()) == 40_000 - 100
    assert by_snr["high_1"].to_pylist()[-1] == np.inf


def test_each_bin_says_how_its_interval_was_made():
    table = lenses(3_000)
    resamples = RegionResamples(np.arange(3_000) // 100, n_resamples=50)
    function = selection_function(table, THRESHOLDS, resamples).to_pylist()
    for record in function:
        few = min(record["found"], record["n"] - record["found"]) < 10
        assert record["interval_method"] == ("Wilson" if few else "region bootstrap")
        assert record["interval_low"] <= record["completeness"] <= record["interval_high"]
    assert len({record["interval_method"] for record in function}) == 2


def test_it_says_where_it_comes_from(written):
    facts = json.loads(pq.read_schema(written).metadata[b"dark_halo_scope"])
    assert facts["scores"]["sha256"] == "abc"
    assert facts["units"]["theta_e_arcsec"] == "arcsec"
    assert facts["level"] == 0.95


def test_a_survey_that_knows_nothing_of_its_lenses_gets_an_empty_table():
    table = selection_function(pa.table({"logit": np.zeros(3, np.float32)}), THRESHOLDS)
    assert table.num_rows == 0
