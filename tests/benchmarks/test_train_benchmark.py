import json
import subprocess
import sys

import pytest
import torch
from benchmarks.loader_tax import Sample, loader_tax
from benchmarks.mfu import flop_per_stamp, matmul_flop_per_s
from torch import nn

from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.networks.resnet import ResNet
from tests.stamps.datasets import write_dataset

ARMS = ["raw", "raw, resident", "store", "store, resident"]


@pytest.mark.slow
def test_streamed_and_resident_batches_are_trained_on_and_compared(tmp_path):
    root = write_dataset(tmp_path / "raw")
    command = [sys.executable, "benchmarks/train.py", "hardware=cpu", "--batch-size=8", "--steps=4", "--warmup=1"]
    command += ["--rounds=2", f"--store={tmp_path}/store", f"--results={tmp_path}", "--name=tiny"]
    command += ["model=small_cnn", f"data.root={root}", "task.class_weighting=balanced"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "tiny.json").read_text())
    assert list(result["arms"]) == ARMS
    for name, arm in result["arms"].items():
        assert name in done.stdout
        assert 0 < arm["min"] <= arm["stamps_per_s"] <= arm["max"]
        assert 0 <= arm["data_wait_fraction"] < 1
        assert 0 < arm["model_flop_utilisation"] < 1
    assert result["loader_tax"].keys() == {"raw", "store"}
    for tax in result["loader_tax"].values():
        assert tax["median"] < 1
        assert tax["low"] is tax["high"] is None, "two rounds have no interval"
        assert f"{tax['median']:.1%}" in done.stdout
    assert {"cpu", "cores"} <= result["machine"].keys()


def test_a_tax_is_told_with_the_interval_of_its_rounds():
    """The ranks of ten rounds that hold their median with at least 95 %: the second and the ninth."""
    resident = [Sample(100.0, 0.0)] * 10
    streamed = [Sample(100.0 - percent, 0.0) for percent in (9, 0, 8, 1, 7, 2, 6, 3, 5, 50)]
    tax = loader_tax(streamed, resident)
    assert (tax.median, tax.low, tax.high) == pytest.approx((0.055, 0.01, 0.09))
    assert str(tax) == "5.5% (1.0% to 9.0%)"
    assert str(loader_tax(streamed[:5], resident[:5])) == "7.0%"


def test_operations_are_counted():
    """A linear layer: 2 n m forward, as much again for the weights; no gradient to the pixels."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10))
    assert flop_per_stamp(linear) == 2 * (2 * 3 * 64 * 64 * 10)
    assert flop_per_stamp(ResNet(18)) == pytest.approx(3 * 4.46e9, rel=0.02)


def test_the_product_is_measured_in_the_precision_of_the_convolutions():
    """On a GPU float32 may stand for TF32, by two switches that torch sets differently."""
    assert matmul_flop_per_s(torch.device("cpu"), "32-true") > 0
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is True
