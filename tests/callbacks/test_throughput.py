import time

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from dark_halo_scope.callbacks.history import MetricHistory
from dark_halo_scope.callbacks.learning_rate import LearningRate
from dark_halo_scope.callbacks.throughput import Throughput
from tests.callbacks.tiny_run import KillAt, Killed


class Slow(Callback):
    """Lets each step take 30 ms and each validation 300 ms; times the epochs with validation and all."""

    def __init__(self):
        self.epoch_s = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        self.epoch_s.append(time.perf_counter() - self.start)

    def on_before_backward(self, trainer, pl_module, loss):
        time.sleep(0.03)

    def on_validation_epoch_end(self, trainer, pl_module):
        time.sleep(0.3)


def test_speed_leaves_validation_out_and_waiting_is_not_stepping(run):
    history, slow = MetricHistory(str(run.folder)), Slow()
    run.fit([slow, Throughput(), history], max_epochs=2)
    speeds = [value for _, _, value in history.metrics["throughput/stamps_per_s"]]
    waits = [value for _, _, value in history.metrics["throughput/data_wait_fraction"]]
    for epoch_s, stamps_per_s, wait in zip(slow.epoch_s, speeds, waits, strict=True):
        training_s = 48 / stamps_per_s
        assert 6 * 0.03 < training_s < epoch_s - 0.29
        assert 0 < wait * training_s < training_s - 6 * 0.03
    assert "throughput/gpu_memory_gib" not in history.metrics


def test_speed_of_an_epoch_that_was_resumed_inside(run):
    callbacks = [Throughput(), *run.standard_callbacks(last_every_n_steps=2)]
    with pytest.raises(Killed):
        run.fit([*callbacks, KillAt(9)], max_epochs=2)
    run.fit([Throughput(), *run.standard_callbacks()], resume=run.last, max_epochs=2)
    assert [epoch for epoch, _, _ in run.history()["throughput/stamps_per_s"]] == [0, 1]


def test_the_learning_rate_is_in_the_history_and_in_the_loggers(run):
    history = MetricHistory(str(run.folder))
    run.fit([LearningRate(), history], max_epochs=2, logger=CSVLogger(str(run.folder), name="csv"))
    (_, _, first), (_, _, second) = history.metrics["lr"]
    assert 3e-3 > first > second > 0
    header, *lines = (run.folder / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("lr")
    assert len([line for line in lines if line.split(",")[column]]) >= 6


def test_the_learning_rate_needs_no_logger(run):
    run.fit([LearningRate()], max_epochs=1)
    assert float(run.trainer.callback_metrics["lr"]) > 0
