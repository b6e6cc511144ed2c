import json
import subprocess
import sys

import pytest
from benchmarks.ratios import ratios

from dark_halo_scope.configuration import REPOSITORY

CONTENDERS = ["np.load + DataLoader", "direct (ours)", "store float16 (ours)", "store float32 (ours)"]
KINDS = ("1", "cold")


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


@pytest.mark.slow
def test_every_contender_delivers_the_pixels_of_the_source_and_is_timed(result):
    assert [entry["name"] for entry in result["contenders"]] == CONTENDERS
    for entry in result["contenders"]:
        assert entry["stamps_checked"] == 512
        for kind in KINDS:
            summary = entry["summary"][kind]
            assert 0 < summary["min"] <= summary["stamps_per_s"] <= summary["max"]
            assert summary["cpu_us_per_stamp"] > 0
            assert summary["peak_rss_mib"] > 0
    over = "np.load + DataLoader, float32"
    assert [(r["of"], r["over"], r["workers"]) for r in result["ratios"]] == [(CONTENDERS[1], over, k) for k in KINDS]


def entry(peer, name, precision, rate):
    return {"peer": peer, "name": name, "precision": precision, "summary": {"1": {"stamps_per_s": rate}}}


def test_a_store_is_held_against_the_best_public_loader_of_its_precision_and_the_ceiling():
    entries = [
        entry("np_load", "reference", "float32", 10.0),
        entry("store", "ours", "float16", 60.0),
        entry("webdataset_tar", "slow", "float16", 5.0),
        entry("litdata_chunks", "fast", "float16", 20.0),
        entry("litdata_chunks", "faster", "float32", 40.0),
        entry("gather", "ceiling", "float16", 120.0),
    ]
    found = {(r["of"], r["over"]): r["ratio"] for r in ratios(entries)}
    assert found == {("ours", "fast, float16"): 3.0, ("ours", "ceiling, float16"): 0.5}


@pytest.mark.slow
def test_the_result_names_machine_and_versions(result):
    assert {"cpu", "cores", "memory_gib", "python"} <= set(result["machine"])
    assert {"torch", "webdataset", "litdata", "mosaicml-streaming", "datasets"} <= set(result["versions"])
    assert (result["stamps"], result["batch_size"], result["rounds"]) == (512, 256, 1)
