import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.evaluation.completeness import (
    ARC_SNR,
    THETA_E,
    Bins,
    completeness_by,
    completeness_report,
    rate_by_bin,
    rate_by_category,
)
from dark_halo_scope.evaluation.rates import RegionResamples


def lenses(n: int = 900, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "theta_e_arcsec": rng.uniform(0.5, 2.5, n).astype(np.float32),
            "psf_fwhm_used_r": rng.uniform(0.9, 1.7, n),
            "arc_snr": pa.array(rng.exponential(8, n), mask=np.arange(n) < 30),
        }
    )


def test_completeness_in_bins_adds_up_to_the_whole():
    table = lenses()
    theta_e = table["theta_e_arcsec"].to_numpy()
    found = theta_e > 1.0
    report = completeness_by(table, found, THETA_E)
    assert sum(record["n"] for record in report["bins"]) == table.num_rows
    assert sum(record["passed"] for record in report["bins"]) == found.sum()
    for record in report["bins"]:
        assert record["rate"] == (1.0 if record["low"] >= 1 else 0.0)
    assert [record["low"] for record in report["bins"]] == pytest.approx(np.arange(0.5, 2.5, 0.25))


def test_unknown_values_are_counted_and_an_open_bin_has_no_end():
    table = lenses()
    report = completeness_by(table, np.ones(table.num_rows, bool), ARC_SNR)
    assert report["n_unknown"] == 30
    assert sum(record["n"] for record in report["bins"]) == table.num_rows - 30
    high = completeness_by(pa.table({"arc_snr": [10.0, 80.0]}), np.array([True, False]), ARC_SNR)
    assert [(record["low"], record["high"]) for record in high["bins"]] == [(10, 20), (50, None)]


def test_a_grid_of_values_gets_one_bin_a_value():
    values = np.repeat([0.3, 0.6, 1.0], [20, 30, 5])
    records = rate_by_bin(values, values > 0.5, Bins.for_values(values))
    assert [(r["low"], r["high"], r["n"], r["rate"]) for r in records] == [
        (0.3, 0.3, 20, 0.0),
        (0.6, 0.6, 30, 1.0),
        (1.0, 1.0, 5, None),
    ]


@given(st.lists(st.floats(1e-3, 1e4), min_size=2, max_size=60))
def test_bins_hold_every_value_and_stay_few(values):
    sample = np.array(values)
    bins = Bins.for_values(sample)
    assert 1 <= len(bins.ends) <= 9
    records = rate_by_bin(sample, np.ones(sample.size, bool), bins)
    assert sum(record["n"] for record in records) == sample.size


def test_categories_come_most_frequent_first_with_nulls_named():
    names = ["ring"] * 10 + ["plain"] * 20 + [None]
    records = rate_by_category(names, np.array([True] * 10 + [False] * 21))
    assert [(r["name"], r["n"], r["rate"]) for r in records] == [
        ("plain", 20, 0.0),
        ("ring", 10, 1.0),
        ("unnamed", 1, None),
    ]


def test_the_grid_of_two_properties_holds_every_lens_once():
    table = lenses()
    grid = completeness_report(table, np.ones(table.num_rows, bool))["grid"]
    assert len(grid["rows"]) == 3
    assert all(len(row["bins"]) == len(grid["columns"]) for row in grid["rows"])
    assert [sum(cell["n"] for cell in row["bins"]) for row in grid["rows"]] == [300, 300, 300]


def test_missing_columns_and_columns_without_values_are_named():
    table = pa.table({"theta_e_arcsec": [1.0, 1.2], "arc_snr": pa.array([None, None], pa.float64())})
    report = completeness_report(table, np.array([True, False]))
    assert [stratum["column"] for stratum in report["strata"]] == ["theta_e_arcsec"]
    assert report["missing"] == ["arc_snr", "psf_fwhm_used_r", "host_mag_r", "src_dmag", "src_mag_r"]
    assert report["grid"] is None


def test_constant_seeing_leaves_the_grid_empty():
    table = lenses().set_column(1, "psf_fwhm_used_r", pa.array(np.full(900, 1.3)))
    assert completeness_report(table, np.ones(900, bool))["grid"]["rows"] == []


def test_regions_are_resampled_where_they_are_known():
    table, found = lenses(), np.arange(900) % 3 > 0
    report = completeness_report(table, found, RegionResamples(np.arange(900) % 30, n_resamples=50))
    records = [record for stratum in report["strata"] for record in stratum["bins"]]
    records += [cell for row in report["grid"]["rows"] for cell in row["bins"]]
    assert {record["method"] for record in records if record["n"] >= 60} == {"region bootstrap"}
    assert {record["method"] for record in records if record["n"] < 10} <= {None}
    without = completeness_report(table, found)
    assert {record["method"] for record in without["strata"][0]["bins"]} == {"Wilson"}
