import json
import subprocess
import sys

import pytest

from dark_halo_scope.configuration import REPOSITORY

CONTENDERS = ["np.load + DataLoader", "direct (ours)", "store float16 (ours)", "store float32 (ours)"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "benchmarks/loader.py", "--stamps", "512", "--workers", "1", "--rounds", "1"]
    command += ["--seconds", "0.01", "--only", "np_load", "direct", "store"]
    command += ["--data", str(folder / "data"), "--results", str(folder), "--name", "tiny"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in CONTENDERS)
    return json.loads((folder / "tiny.json").read_text())


def test_every_contender_delivers_the_pixels_of_the_source_and_is_timed(result):
    assert [entry["name"] for entry in result["contenders"]] == CONTENDERS
    for entry in result["contenders"]:
        assert entry["stamps_checked"] == 512
        summary = entry["summary"]["1"]
        assert 0 < summary["min"] <= summary["stamps_per_s"] <= summary["max"]
        assert summary["cpu_us_per_stamp"] > 0
        assert summary["peak_rss_mib"] > 0
    assert result["contenders"][0]["summary"]["1"]["ratio"] == 1


def test_the_result_names_machine_and_versions(result):
    assert {"cpu", "cores", "memory_gib", "python"} <= set(result["machine"])
    assert {"torch", "webdataset", "litdata", "mosaicml-streaming", "datasets"} <= set(result["versions"])
    assert (result["stamps"], result["batch_size"], result["rounds"]) == (512, 256, 1)
