import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tasks.tiny import tiny_stamps
from tests.windows.datasets import write_study

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    """What one process, and each of two gloo processes, make of the same weights and stamps."""
    folder = tmp_path_factory.mktemp("ranks")
    write_study(folder / "study", windows=23)
    for processes in ("1", "2"):
        command = [sys.executable, "-m", "tests.tasks.run_over_ranks", str(folder), processes]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "sync_dist" not in done.stderr  # Lightning's warning about metrics that differ by rank
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_two_processes_log_the_metrics_of_one(results):
    assert set(results) == {"1_rank0", "2_rank0", "2_rank1"}
    alone = results["1_rank0"]["logged"]
    assert {"val/auroc", "val/loss", "val/tpr_at_fpr_1e-3", "test/ap", "test/ece"} <= alone.keys()
    assert alone["val/n_lens"] == 13
    for rank in ("2_rank0", "2_rank1"):
        assert results[rank]["logged"] == pytest.approx(alone, rel=0, abs=1e-6)


def test_ranks_train_in_step(results):
    assert results["2_rank0"]["learnt"] == results["2_rank1"]["learnt"]
    assert 0 < results["2_rank0"]["learnt"]["train/loss"] < 1


@pytest.mark.parametrize(("stage", "seed"), [("val", 2), ("test", 3)])
def test_every_rank_holds_every_stamp_once_though_shares_are_unequal(results, stage, seed):
    stamps = tiny_stamps(37, seed)
    label_of_row = dict(zip(stamps["row"].tolist(), stamps["label"].tolist(), strict=True))
    for rank in results.values():
        scores = rank["gathered"][stage]
        assert dict(zip(scores["row"], scores["label"], strict=True)) == label_of_row
        assert scores["row"] == sorted(label_of_row)
        np.testing.assert_allclose(scores["logit"], results["1_rank0"]["gathered"][stage]["logit"], atol=1e-6)


def test_windows_are_measured_over_ranks_as_by_one(results):
    alone = results["1_rank0"]
    assert {"val/accuracy", "val/macro_f1", "val/balanced_accuracy"} <= alone["windows"].keys()
    assert len(alone["gathered"]["windows"]["row"]) == 33
    for rank in ("2_rank0", "2_rank1"):
        assert results[rank]["windows"] == pytest.approx(alone["windows"], rel=0, abs=1e-6)
        assert results[rank]["gathered"]["windows"]["row"] == alone["gathered"]["windows"]["row"]
