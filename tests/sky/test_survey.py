"""The survey on disk: in the contract, the same bytes however it is made, whole or absent."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.sky.survey import SurveyFolderError, simulate_survey, survey_is_complete
from dark_halo_scope.stamps.contract import check_einstein_radius, check_schema, labels, splits, usable
from tests.sky.surveys import tiny_config

REPOSITORY = Path(__file__).parents[2]


def checksums(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def start_simulation(folder, cpus=None):
    """The survey of ``tests.sky.simulate`` in a process of its own, on the given CPUs."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sky.simulate", str(folder)],
        cwd=REPOSITORY,
        preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus),
    )


def test_survey_fulfils_the_contract(small_survey_folder):
    for file in small_survey_folder.glob("*.parquet"):
        table = pq.read_table(file)
        check_schema(table.schema, file.name)
        label, ok = labels(table["lens_model"], file.name), usable(table["cutout_ok"], file.name)
        splits(table["region_split"], file.name)
        check_einstein_radius(table["theta_e_arcsec"], label, ok, file.name)
        assert pq.ParquetFile(file).metadata.row_group(0).num_rows == 128
        assert table["arc_snr"].null_count == table["control_kind"].length() - table["control_kind"].null_count


def test_the_stamps_are_plain_npz(small_survey_folder):
    table = pq.read_table(next(iter(small_survey_folder.glob("*.parquet"))), columns=["stamp_npz"])
    with np.load(io.BytesIO(table["stamp_npz"][0].as_py()), allow_pickle=False) as stamp:
        assert {name: (band.shape, str(band.dtype)) for name, band in stamp.items()} == {
            f"image_{band}": ((64, 64), "float32") for band in "grz"
        }


def test_same_config_same_bytes_on_one_cpu_and_on_many(tmp_path):
    cpus = os.sched_getaffinity(0)
    assert start_simulation(tmp_path / "one", {min(cpus)}).wait() == 0
    assert start_simulation(tmp_path / "many", cpus).wait() == 0
    assert checksums(tmp_path / "one") == checksums(tmp_path / "many")


def test_another_seed_is_another_sky(tmp_path):
    first = simulate_survey(tiny_config(), tmp_path / "first", progress=False)
    second = simulate_survey(tiny_config(seed=9), tmp_path / "second", progress=False)
    assert not set(checksums(first).values()) & set(checksums(second).values())


def test_killed_simulation_is_absent_and_goes_on_where_it_was(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start_simulation(killed)
    while not (done := list(tmp_path.glob(".killed.*.partial/*.parquet"))):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    kept, made = done[0], done[0].stat().st_mtime_ns

    assert start_simulation(killed).wait() == 0
    assert (killed / kept.name).stat().st_mtime_ns == made
    assert not list(tmp_path.glob(".killed.*.partial"))
    assert start_simulation(whole).wait() == 0
    assert checksums(killed) == checksums(whole)


def test_two_processes_make_one_survey(tmp_path):
    processes = [start_simulation(tmp_path / "shared") for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert survey_is_complete(tmp_path / "shared", tiny_config(stamps_per_region=64))


def test_finished_survey_is_used_again(tmp_path):
    folder = simulate_survey(tiny_config(), tmp_path / "survey", progress=False)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert simulate_survey(tiny_config(), folder, progress=False) == folder
    assert before == {file: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_completeness_is_for_this_config_and_all_files(tmp_path):
    folder = tmp_path / "survey"
    assert not survey_is_complete(folder, tiny_config())
    simulate_survey(tiny_config(), folder, progress=False)
    assert survey_is_complete(folder, tiny_config())
    assert not survey_is_complete(folder, tiny_config(seed=9))
    assert json.loads((folder / "survey.json").read_text())["stamps"] == 32
    file = next(folder.glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    assert not survey_is_complete(folder, tiny_config())
    file.unlink()
    assert not survey_is_complete(folder, tiny_config())


def test_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(SurveyFolderError, match="holds another survey or other files"):
        simulate_survey(tiny_config(), tmp_path / "mine", progress=False)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    folder = simulate_survey(tiny_config(), tmp_path / "survey", progress=False)
    with pytest.raises(SurveyFolderError, match="name another folder"):
        simulate_survey(tiny_config(seed=9), folder, progress=False)
    assert survey_is_complete(folder, tiny_config())


def test_survey_larger_than_the_disk_is_refused_at_once(tmp_path):
    config = tiny_config(regions={"train": 10**9, "val": 1, "test": 1})
    with pytest.raises(SurveyFolderError, match=r"needs [0-9.]+ GB and .* GB free"):
        simulate_survey(config, tmp_path / "huge", progress=False)
    assert not (tmp_path / "huge").exists()


def test_progress_is_shown(tmp_path, capsys):
    simulate_survey(tiny_config(), tmp_path / "survey")
    assert "32/32" in capsys.readouterr().out
