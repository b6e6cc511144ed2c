import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dark_halo_scope.evaluation.comparison import ComparisonError, ScoreFile, compare, short_names
from dark_halo_scope.evaluation.comparison_page import write_comparison
from dark_halo_scope.files import sha256
from tests.evaluation.score_files import read, write
from tests.evaluation.test_report import Page, words


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    paths = [write(folder / f"seed{s}" / "scores.parquet", noise, seed=s) for s, noise in enumerate((0.0, 0.05, 4.0))]
    return compare(read(*paths), "region_id", repeats=True, n_resamples=300), paths


def test_a_worse_finder_is_told_apart_and_an_equal_one_is_not(comparison):
    result, paths = comparison
    verdicts = {(r["metric"], r["name"]): r["verdict"] for r in result["differences"]}
    assert verdicts["auroc", "seed1"] == "not told apart"
    assert verdicts["auroc", "seed2"] == verdicts["tpr_at_fpr_1e-2", "seed2"] == "worse"
    assert [f["sha256"] for f in result["files"]] == [sha256(path) for path in paths]
    first, third = (read(path)[0].table for path in (paths[0], paths[2]))
    expected = roc_auc_score(third["label"], third["logit"]) - roc_auc_score(first["label"], first["logit"])
    difference = next(r for r in result["differences"] if (r["metric"], r["name"]) == ("auroc", "seed2"))
    assert difference["difference"] == pytest.approx(expected, abs=1e-9)
    assert difference["interval"][0] < expected < difference["interval"][1]


def test_pairing_makes_the_interval_of_a_difference_narrow(comparison):
    result, _ = comparison
    nearly_same = next(r for r in result["differences"] if (r["metric"], r["name"]) == ("auroc", "seed1"))
    assert np.diff(nearly_same["interval"])[0] < 0.002  # the AUROC of either alone is known to about 0.02


def test_repeats_have_a_mean_and_a_scatter(comparison):
    result, _ = comparison
    values = list(result["metrics"]["auroc"].values())
    assert result["repeats"]["auroc"] == pytest.approx({"mean": np.mean(values), "std": np.std(values, ddof=1), "n": 3})


def test_the_page_names_every_file_and_every_verdict(comparison, tmp_path):
    result, paths = comparison
    text = write_comparison(tmp_path, result).read_text()
    page = Page(text)
    assert page.open == []
    assert page.images_without_alt == 0
    assert len(page.ids) == len(set(page.ids))
    assert all(sha256(path) in text for path in paths)
    assert "worse" in words(text)
    assert "standard deviation over 3 repeats" in words(text)
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads(json.dumps(result))


def test_other_stamps_are_refused_with_the_counts(tmp_path):
    all_rows, fewer = write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet", rows=slice(0, 2000))
    with pytest.raises(ComparisonError, match=r"\(2400 and 2000, 2000 of them in both\)"):
        compare(read(all_rows, fewer), "region_id")


def test_another_dataset_with_the_same_rows_is_refused(tmp_path):
    paths = write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet", fingerprint="other")
    with pytest.raises(ComparisonError, match="fingerprints data and other"):
        compare(read(*paths), "region_id")


def test_few_regions_compare_without_intervals(tmp_path):
    few = slice(0, 300)  # stamps come region by region, about 80 each
    paths = write(tmp_path / "a.parquet", rows=few), write(tmp_path / "b.parquet", 1.0, rows=few)
    result = compare(read(*paths), "region_id")
    assert "too few regions" in result["refused"]
    assert {record["interval"] for record in result["differences"]} == {None}
    assert Page(write_comparison(tmp_path, result).read_text()).open == []


def test_a_file_without_that_split_is_refused_and_a_file_given_twice_too(tmp_path):
    path = write(tmp_path / "a.parquet")
    with pytest.raises(ComparisonError, match=r"no labelled stamp of split 'val' \(labelled splits: test\)"):
        ScoreFile.read("a", path, "val")
    with pytest.raises(ComparisonError, match="more than once"):
        short_names([path, tmp_path / "." / "a.parquet"])


def test_names_are_as_short_as_they_can_be(tmp_path):
    assert short_names([tmp_path / "x" / "scores.parquet", tmp_path / "y" / "scores.parquet"]) == ["x", "y"]
    assert short_names([tmp_path / "one.parquet", tmp_path / "two.parquet"]) == ["one", "two"]
    assert short_names([tmp_path / "x" / "1.parquet", tmp_path / "y" / "1.parquet", tmp_path / "y" / "2.parquet"]) == [
        "x/1",
        "y/1",
        "y/2",
    ]
