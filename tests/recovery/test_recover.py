"""`halo recover`: known lenses against scored stamps, as a user calls it."""

import argparse
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.stats import binom_conf_interval
from astropy.table import Table

from dark_halo_scope.commands import recover
from dark_halo_scope.evaluation.scores import ScoreFileError, score_table, write_scores
from dark_halo_scope.recovery.catalogue import KnownLensesError
from dark_halo_scope.stamps.contract import ContractError

N_SCORED, N_LENSES = 20_000, 40
ARCSEC = 1 / 3600


def halo(*words: object) -> None:
    parser = argparse.ArgumentParser(prog="halo")
    recover.add(parser.add_subparsers())
    arguments = parser.parse_args(["recover", *map(str, words)])
    arguments.run(arguments, [])


def result(folder) -> dict:
    return json.loads((folder / "recovery.json").read_text())


@pytest.fixture(scope="module")
def sky():
    """Unlabelled galaxies on a grid of 0.01 degrees at declination 60, the first forty of them lenses."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 1, N_SCORED).astype(np.float32)
    logits[:N_LENSES] = np.linspace(-2, 4, N_LENSES)
    row = np.arange(N_SCORED)
    metadata = pa.table(
        {"stamp_id": [f"s{k:05d}" for k in row], "ra": 10 + (row % 200) * 0.02, "dec": 60 + (row // 200) * 0.01}
    )
    return score_table(row, None, None, logits, None, metadata)


@pytest.fixture(scope="module")
def scores(sky, tmp_path_factory):
    path = tmp_path_factory.mktemp("sky") / "scores.parquet"
    write_scores(path, sky, {"checkpoint_sha256": ["a1"]})
    return path


@pytest.fixture(scope="module")
def known(sky):
    """The lenses, half an arcsec off in right ascension, one of them twice, two of them elsewhere."""
    ra, dec = sky["ra"].to_numpy()[:N_LENSES], sky["dec"].to_numpy()[:N_LENSES]
    ra = np.concatenate([ra + 0.5 * ARCSEC / np.cos(np.radians(dec)), [ra[0], 10.005, 200.0]])
    dec = np.concatenate([dec, [dec[0] + 1 * ARCSEC, 60.0, -30.0]])
    n = len(ra)
    return pa.table(
        {
            "Name": [f"lens {k}" for k in range(n)],
            "RA": ra,
            "DEC": dec,
            "stamp_id": [*sky["stamp_id"].to_pylist()[:N_LENSES], "s00000", "other", None],
            "grade": ["A", "B"] * (n // 2) + ["A"] * (n % 2),
            "tier": ["primary" if k < 30 else "stress" for k in range(n)],
        }
    )


def write_labelled(path, checkpoint, n=4000):
    """Scores of a labelled survey by the same network."""
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 2
    logits = rng.normal(np.where(labels, 1.0, -3.0), 1).astype(np.float32)
    metadata = pa.table({"region_id": np.arange(n) // 100})
    write_scores(
        path, score_table(np.arange(n), "val", labels, logits, None, metadata), {"checkpoint_sha256": checkpoint}
    )
    return logits, labels


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_lenses_are_matched_by_position_and_the_others_named(scores, known, tmp_path, kind):
    catalogue = known.drop_columns(["stamp_id"])
    path = tmp_path / f"known.{kind}"
    if kind == "csv":
        pyarrow.csv.write_csv(catalogue, path)
    elif kind == "parquet":
        pq.write_table(catalogue, path)
    else:
        Table({name: catalogue[name].to_pylist() for name in catalogue.column_names}).write(path)
    halo(scores, path, "--out", tmp_path)
    found = result(tmp_path)
    assert found["counts"] | {"matched": N_LENSES, "not_scored": 3, "scored_stamps": N_SCORED} == found["counts"]
    reasons = {lens["name"]: lens["reason"] for lens in found["not_scored"]}
    assert reasons["lens 40"] == "it is the same stamp as lens 0, which is counted"
    assert reasons["lens 41"] == "the nearest scored stamp is 9.0 arcsec away"
    assert "degrees away" in reasons["lens 42"]
    assert {lens["row"] for lens in found["lenses"]} == set(range(N_LENSES))
    np.testing.assert_allclose([lens["separation_arcsec"] for lens in found["lenses"]], 0.5, atol=1e-6)


def test_ids_go_before_positions(scores, known, tmp_path):
    wrong_positions = known.set_column(known.column_names.index("RA"), "RA", pa.array(np.full(len(known), 111.0)))
    pq.write_table(wrong_positions, tmp_path / "known.parquet")
    halo(scores, tmp_path / "known.parquet", "--out", tmp_path)
    found = result(tmp_path)
    assert found["matched_by"] == "the column stamp_id"
    assert found["counts"]["matched"] == N_LENSES
    assert {lens["reason"] for lens in found["not_scored"]} == {
        "it is the same stamp as lens 0, which is counted",
        "no scored stamp has this stamp_id",
    }


def test_recall_by_tier_and_grade_at_thresholds_of_labelled_stamps(scores, sky, known, tmp_path):
    logits, labels = write_labelled(tmp_path / "labelled.parquet", "a1")
    pq.write_table(known, tmp_path / "known.parquet")
    halo(
        scores, tmp_path / "known.parquet", "--out", tmp_path, "--calibrated-by", tmp_path / "labelled.parquet",
        "--fpr", 0.05, "--fp-per-deg2", 10, "--galaxies-per-deg2", 1000,
    )  # fmt: skip
    found = result(tmp_path)
    cuts = {cut["name"]: cut["logit"] for cut in found["cuts"]}
    assert found["decided_by"] == "fp_per_deg2_10"
    for name, rate in (("fp_per_deg2_10", 0.01), ("fpr_5e-2", 0.05)):
        assert (logits[labels == 0] >= cuts[name]).mean() == pytest.approx(rate)
    stamps = sky["logit"].to_numpy()[:N_LENSES]
    for group in found["groups"]:
        members = {
            "all": np.full(N_LENSES, True),
            "primary": np.arange(N_LENSES) < 30,
            "stress": np.arange(N_LENSES) >= 30,
            "A": np.arange(N_LENSES) % 2 == 0,
            "B": np.arange(N_LENSES) % 2 == 1,
        }[group["name"]]
        for name, recall in group["recall"].items():
            n_found = int((stamps[members] >= cuts[name]).sum())
            assert (recall["found"], recall["n"]) == (n_found, members.sum())
            expected = binom_conf_interval(n_found, members.sum(), confidence_level=0.95, interval="wilson")
            np.testing.assert_allclose(recall["interval"], expected, rtol=1e-12)
    assert [group["name"] for group in found["groups"]] == ["all", "primary", "stress", "A", "B"]
    below = {f"lens {k}" for k in np.flatnonzero(stamps < cuts["fp_per_deg2_10"])}
    assert {lens["name"] for lens in found["missed"]} == below
    assert below
    page = re.sub(r"\s+", " ", (tmp_path / "recovery.html").read_text())
    assert f"{len(below)} scored lenses lie below the threshold for 10 false positives per square degree" in page


def test_ranks_are_those_among_everything_scored(scores, sky, known, tmp_path):
    pq.write_table(known, tmp_path / "known.parquet")
    halo(scores, tmp_path / "known.parquet", "--out", tmp_path)
    found = result(tmp_path)
    logits = sky["logit"].to_numpy()
    for lens in found["lenses"]:
        assert lens["rank"] == 1 + (logits > np.float32(lens["logit"])).sum()
    top = {cut["name"]: cut["logit"] for cut in found["cuts"]}
    assert (logits >= top["top_0.01"]).sum() == N_SCORED // 100
    assert top["top_0.0001"] is None  # two stamps
    assert found["thresholds_from"] is None
    assert "give <code>--calibrated-by</code>" in (tmp_path / "recovery.html").read_text()


def test_thresholds_of_another_network_are_refused(scores, known, tmp_path):
    write_labelled(tmp_path / "labelled.parquet", "b2")
    pq.write_table(known, tmp_path / "known.parquet")
    with pytest.raises(ScoreFileError, match="another network"):
        halo(scores, tmp_path / "known.parquet", "--calibrated-by", tmp_path / "labelled.parquet")


@pytest.mark.parametrize(
    ("columns", "options", "error", "told"),
    [
        (["Name", "grade"], (), KnownLensesError, "says of no lens where it is"),
        (["Name", "RA", "DEC"], ("--id-column", "other"), KnownLensesError, "no column other, but Name, RA, DEC"),
    ],
)
def test_a_catalogue_that_says_nothing_is_refused(scores, known, tmp_path, columns, options, error, told):
    pq.write_table(known.select(columns), tmp_path / "known.parquet")
    with pytest.raises(error, match=told):
        halo(scores, tmp_path / "known.parquet", *options)


def test_an_unreadable_or_empty_catalogue_is_refused(scores, known, tmp_path):
    (tmp_path / "known.fits").write_text("not FITS")
    with pytest.raises(ContractError, match="cannot be read as a catalogue"):
        halo(scores, tmp_path / "known.fits")
    pq.write_table(known.filter(pc.equal(known["grade"], "Z")), tmp_path / "known.parquet")
    with pytest.raises(KnownLensesError, match="holds no lens"):
        halo(scores, tmp_path / "known.parquet")


def test_a_catalogue_without_any_scored_lens_still_gets_its_page(scores, known, tmp_path):
    pq.write_table(known.slice(41), tmp_path / "known.parquet")
    halo(scores, tmp_path / "known.parquet", "--out", tmp_path)
    assert result(tmp_path)["counts"]["matched"] == 0
    assert "0 of the 2 lenses" in re.sub(r"\s+", " ", (tmp_path / "recovery.html").read_text())
