"""`halo evaluate` and `halo gallery`, as a user calls them, on a real dataset."""

import argparse
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.commands import evaluate, gallery
from dark_halo_scope.commands.gallery import GalleryError, open_pixels
from dark_halo_scope.configuration import ConfigError
from dark_halo_scope.evaluation.scores import ScoreFileError, score_table, write_scores
from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.source import open_source
from tests.evaluation.run_folder import make_run_folder
from tests.evaluation.test_report import words
from tests.stamps.datasets import stamp_image, write_dataset


def halo(*words_of_command: object, overrides: tuple[str, ...] = ()) -> None:
    parser = argparse.ArgumentParser(prog="halo")
    commands = parser.add_subparsers()
    for command in (evaluate, gallery):
        command.add(commands)
    arguments = parser.parse_args([str(word) for word in words_of_command])
    arguments.run(arguments, list(overrides))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A dataset and the scores of its validation and test stamps."""
    folder = tmp_path_factory.mktemp("scored")
    write_dataset(folder / "data", n_train=8, n_val=60, n_test=60, rows_per_region=4)
    source = open_source(str(folder / "data"))
    tables = []
    for split in ("val", "test"):
        rows = source.known.rows(split)
        labels = source.known.label[rows]
        logits = np.random.default_rng(0).normal(3 * labels - 1.5)
        tables.append(score_table(rows, split, labels, logits, np.full(len(rows), 0.5), source.metadata(rows)))
    write_scores(folder / "scores.parquet", pa.concat_tables(tables), {"data_fingerprint": source.fingerprint})
    return folder


def test_one_score_file_gives_metrics_selection_function_and_report(scored, tmp_path, capsys):
    halo(
        "evaluate", scored / "scores.parquet", "--out", tmp_path, "--data", scored / "data", "--prevalence", 1e-3, 1e-4
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert sha256(scored / "scores.parquet") in page
    assert "data:image/png" in page
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["sky"]["prevalences"] == [1e-3, 1e-4]
    assert "Zhou et al. 2023" in words(page)
    facts = json.loads(pq.read_schema(tmp_path / "selection_function.parquet").metadata[b"dark_halo_scope"])
    assert facts["scores"]["sha256"] == sha256(scored / "scores.parquet")


def test_the_density_of_galaxies_may_come_from_an_area(scored, tmp_path):
    halo("evaluate", scored / "scores.parquet", "--out", tmp_path, "--area-deg2", 0.5)
    sky = json.loads((tmp_path / "metrics.json").read_text())["sky"]
    assert sky["galaxies_per_deg2"] == 60
    assert "30 test controls over 0.5 square degrees" in sky["galaxies_source"]
    assert "pixels of the survey were out of reach" in words((tmp_path / "report.html").read_text())


def test_stamps_without_validation_borrow_the_calibration_of_a_run(scored, tmp_path):
    table = pq.read_table(scored / "scores.parquet")
    path = tmp_path / "new.parquet"
    pq.write_table(table.filter(pa.compute.field("split") == "test"), path)
    with pytest.raises(ScoreFileError, match="--calibrated-by"):
        halo("evaluate", path)
    run = make_run_folder(tmp_path / "run", n_val=400, n_test=400)
    halo("evaluate", path, "--calibrated-by", run / "metrics.json")
    page = words((tmp_path / "evaluation" / "report.html").read_text())
    assert "another score file's validation split" in page.replace("&#39;", "'")


def test_several_score_files_are_compared(scored, tmp_path, capsys):
    second = tmp_path / "second.parquet"
    second.write_bytes((scored / "scores.parquet").read_bytes())
    halo("evaluate", scored / "scores.parquet", second, "--out", tmp_path, "--repeats")
    assert capsys.readouterr().out.strip() == str(tmp_path / "comparison.html")
    result = json.loads((tmp_path / "comparison.json").read_text())
    assert result["repeats"]["auroc"]["std"] == 0


def test_a_gallery_shows_the_pixels_of_the_dataset(scored, tmp_path, capsys):
    halo("gallery", scored / "scores.parquet", scored / "data", "--out", tmp_path / "g.html", "--n", 3)
    told = capsys.readouterr().out
    assert "top candidates: 3 of 60" in told
    assert (tmp_path / "g.html").exists()


def test_pixels_come_in_the_order_asked_for(scored):
    rows = np.array([70, 3, 41])
    images = open_pixels(str(scored / "data"), {})(rows)
    names = open_source(str(scored / "data")).metadata(rows)["stamp_id"].to_pylist()
    kinds = open_source(str(scored / "data")).known.label[rows]
    for image, name, is_lens in zip(images, names, kinds, strict=True):
        np.testing.assert_array_equal(image, stamp_image(int(name[1:]), bool(is_lens)))


def test_another_dataset_is_refused(scored, tmp_path):
    write_dataset(tmp_path / "other", n_train=8, n_val=60, n_test=60, rows_per_region=6)
    with pytest.raises(GalleryError, match="is not the dataset that was scored"):
        halo("gallery", scored / "scores.parquet", tmp_path / "other", "--out", tmp_path / "g.html")


@pytest.mark.parametrize("command", ["evaluate", "gallery"])
def test_keys_are_refused(scored, command):
    words_of_command = [scored / "scores.parquet", *([scored / "data"] if command == "gallery" else [])]
    with pytest.raises(ConfigError, match="takes options only"):
        halo(command, *words_of_command, overrides=("seed=3",))


def test_an_empty_gallery_is_refused(scored):
    with pytest.raises(GalleryError, match="--n 0"):
        halo("gallery", scored / "scores.parquet", scored / "data", "--n", 0)
