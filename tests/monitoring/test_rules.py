import math
from dataclasses import replace

import numpy as np
import pytest

from dark_halo_scope.monitoring.rules import examine
from dark_halo_scope.monitoring.status import Patience
from tests.monitoring.states import NOW, healthy, learning, series


def found(run):
    return {finding.rule: finding for finding in examine(run).findings}


def test_a_healthy_run_is_left_alone():
    report = examine(healthy())
    assert report.run.state == "running"
    assert report.findings == ()
    assert report.exit_code == 0


@pytest.mark.parametrize("n", [1, 2, 6, 8, 10])
def test_a_run_that_still_learns_is_left_alone_whatever_its_scatter(n):
    quiet = [examine(replace(healthy(), history=learning(n, seed))).findings == () for seed in range(50)]
    assert np.mean(quiet) >= 0.95  # the limits of the rules are those of 95 % confidence


def test_time_left_counts_steps_and_validations():
    assert healthy().time_left_s == pytest.approx(22_000 * 0.2 + 22 * 30)
    assert healthy(total_steps=0).time_left_s is None


def test_a_living_run_without_a_batch_for_long_is_stalled():
    assert found(healthy(moved_at=NOW - 59)) == {}
    stalled = examine(healthy(moved_at=NOW - 300))
    assert (stalled.run.state, stalled.exit_code) == ("stalled", 3)
    assert "no batch for 5.0 min while training" in stalled.findings[0].said
    assert found(healthy(moved_at=NOW - 300, longest_pause_s=200.0)) == {}
    assert found(healthy(moved_at=NOW - 300, phase="between")) == {}


def test_a_stopped_process_is_stalled_at_once():
    stalled = examine(replace(healthy(), life="stopped"))
    assert stalled.run.state == "stalled"
    assert stalled.findings[0].advice == "kill -CONT 4711"


def test_a_process_that_is_gone_or_silent_elsewhere_is_dead():
    gone = examine(replace(healthy(), life="gone"))
    assert (gone.run.state, gone.exit_code) == ("dead", 3)
    assert gone.findings[0].advice.endswith("python train.py experiment=lens_resnet18 resume=logs/lens/run")
    assert replace(healthy(), life="elsewhere").state == "running"
    assert replace(healthy(beat_at=NOW - 120), life="elsewhere").state == "dead"
    assert replace(healthy(), life="gone", outcome="complete").state == "finished"


@pytest.mark.parametrize("sign", ["step", "epoch", "error", "outcome"])
def test_nan_is_named_wherever_it_shows(sign):
    run = {
        "step": healthy(losses=[(7, 0.5), (8, None)]),
        "epoch": replace(healthy(), history={"train/loss": series([0.5, math.nan])}),
        "error": healthy(phase="failed", error="DivergedError: the training loss became NaN"),
        "outcome": replace(healthy(), outcome="diverged"),
    }[sign]
    assert list(found(run)) == ["nan"]
    assert "optimizer.lr=0.0001" in found(run)["nan"].advice
    assert "hardware.precision=32-true" in found(run)["nan"].advice
    assert examine(run).exit_code == 3


def test_another_error_is_told_as_it_is():
    failed = found(healthy(phase="failed", error="OutOfMemoryError: CUDA out of memory"))
    assert failed["failed"].said == "OutOfMemoryError: CUDA out of memory"


def test_three_spikes_are_told_and_one_is_not():
    losses = list(healthy().status.losses)
    for k in (100, 200, 300):
        assert found(healthy(losses=losses)) == {}
        losses[k] = (losses[k][0], 9.0)
    assert list(found(healthy(losses=losses))) == ["loss spikes"]
    assert "optimizer.lr=0.00015" in found(healthy(losses=losses))["loss spikes"].advice


def test_a_gradient_norm_that_explodes_is_told():
    norms = healthy().status.grad_norms[:-3]
    assert list(found(healthy(grad_norms=[*norms, (1, 50.0), (2, 80.0), (3, 400.0)]))) == ["gradient norm"]


def overfitted(auroc):
    rng, epoch = np.random.default_rng(1), np.arange(12)
    return replace(
        healthy(),
        history={
            "train/loss": series(0.5 - 0.03 * epoch + rng.normal(0, 0.003, 12)),
            "val/loss": series(0.5 + 0.02 * epoch + rng.normal(0, 0.01, 12)),
            "val/auroc": series(auroc(epoch)),
        },
    )


def test_a_growing_gap_is_overfitting_and_only_over_confidence_while_the_metric_improves():
    worse = found(overfitted(lambda epoch: 0.9 - 0.005 * epoch))
    assert worse["overfitting"].severity == "warning"
    assert "model.dropout=0.2 optimizer.weight_decay=0.001" in worse["overfitting"].advice
    better = found(overfitted(lambda epoch: 0.8 + 0.01 * epoch))
    assert [finding.severity for finding in better.values()] == ["note"]


def test_a_validation_loss_that_stays_high_is_overfitting_though_it_rises_no_more():
    rng, epoch = np.random.default_rng(6), np.arange(16)
    train = 0.7 * np.exp(-epoch / 3)
    for height, named in ((0.3, True), (0.0, False)):
        val = 0.6 + height * (epoch > 4) + rng.normal(0, 0.01, 16)
        history = {"train/loss": series(train), "val/loss": series(val)}
        assert ("overfitting" in found(replace(healthy(), history=history))) == named


def test_a_validation_loss_near_zero_may_double():
    train, val = 0.01 * np.exp(-np.arange(12) / 3), np.r_[0.003, 0.001, np.full(10, 0.002)]
    history = {"train/loss": series(train), "val/loss": series(val)}
    assert found(replace(healthy(), history=history)) == {}


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_flat_metric_is_a_plateau_with_its_uncertainty(mode):
    noise = np.random.default_rng(3).normal(0, 0.002, (100, 24))
    sign = 1 if mode == "max" else -1
    flat = [replace(healthy(mode=mode), history={"val/auroc": series(sign * (0.95 + one))}) for one in noise]
    named = [list(found(run)) == ["plateau"] for run in flat]
    assert np.mean(named) > 0.9
    rising = sign * (0.95 + 0.001 * np.arange(24) + noise)
    assert not any(found(replace(healthy(mode=mode), history={"val/auroc": series(one)})) for one in rising)
    told = found(flat[named.index(True)])["plateau"]
    assert "+-" in told.said
    assert "callbacks.early_stopping.patience=1" in told.advice
    assert found(replace(flat[named.index(True)], outcome="complete")) == {}


def test_waiting_for_stamps_is_told_after_the_first_steps():
    waits = found(healthy(wait_fraction=0.6))
    assert list(waits) == ["loader-bound"]
    assert "halo prepare /data/stamps OUT" in waits["loader-bound"].advice
    assert found(healthy(wait_fraction=0.6, step=10)) == {}


def test_a_full_gpu_is_told():
    assert list(found(healthy(gpu_memory_gib=15.8))) == ["GPU memory"]


def test_the_end_of_patience_is_announced_without_an_alarm():
    report = examine(healthy(patience=Patience(left=1, of=5, min_delta=0.001)))
    assert [finding.rule for finding in report.findings] == ["early stop"]
    assert report.exit_code == 0
