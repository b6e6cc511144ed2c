import math
import re
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback

from dark_halo_scope.callbacks.checkpoint import MonitorError, RunCheckpoint
from tests.callbacks.tiny_run import STEPS_PER_EPOCH, KillAt, Killed, TinyRun, assert_same_weights, load


def die_and_resume(run, died_before_step, last_every_n_steps=None, **options):
    dying = [*run.standard_callbacks(last_every_n_steps=last_every_n_steps), KillAt(died_before_step)]
    with pytest.raises(Killed):
        run.fit(dying, **options)
    run.fit(run.standard_callbacks(last_every_n_steps=last_every_n_steps), resume=run.last, **options)


def test_both_files_hold_everything_as_plain_data(finished):
    for path in (finished.best, finished.last):
        expected = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"}
        expected |= {"config", "preprocessing", "rng", "data_fingerprint", "data_position", "code_version", "versions"}
        expected |= {"monitor", "history", "calibrator", "thresholds", "epoch_so_far"}
        assert expected <= load(path).keys()
    assert_same_weights(load(finished.last)["state_dict"], finished.task.state_dict())


def test_last_holds_the_epoch_that_just_ended(finished):
    last = load(finished.last)
    assert (last["epoch"], last["global_step"]) == (3, 4 * STEPS_PER_EPOCH)
    for name in ("train/loss", "val/loss", "val/auroc"):
        assert [epoch for epoch, _, _ in last["history"][name]] == [0, 1, 2, 3]
    stopping = next(state for key, state in last["callbacks"].items() if "EarlyStopping" in key)
    assert stopping["best_score"] >= max(value for _, _, value in last["history"]["val/auroc"]) - 0.001


def test_best_is_the_epoch_with_the_best_metric(finished):
    best, keeper = load(finished.best), finished.trainer.checkpoint_callback
    values = {epoch: value for epoch, _, value in finished.history()["val/auroc"]}
    assert best["epoch"] == max(values, key=values.__getitem__)
    assert best["monitor"] == {"name": "val/auroc", "mode": "max", "best": values[best["epoch"]]}
    assert (keeper.best_model_path, keeper.last_model_path) == (str(finished.best), str(finished.last))
    assert keeper.best_model_score == values[best["epoch"]]


@pytest.mark.parametrize(
    ("died_before_step", "last_every_n_steps"),
    [(2 * STEPS_PER_EPOCH + 3, None), (2 * STEPS_PER_EPOCH, None), (STEPS_PER_EPOCH + 5, 2)],
    ids=["inside-an-epoch", "between-epochs", "from-a-checkpoint-inside-an-epoch"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(finished, run, died_before_step, last_every_n_steps):
    die_and_resume(run, died_before_step, last_every_n_steps)
    for mine, other in ((load(run.last), load(finished.last)), (load(run.best), load(finished.best))):
        assert_same_weights(mine["state_dict"], other["state_dict"])
        assert torch.equal(mine["rng"][0]["torch"], other["rng"][0]["torch"])
        assert mine["monitor"] == other["monitor"]
        assert mine["epoch_so_far"] == other["epoch_so_far"]
        assert mine["history"]["val/auroc"] == other["history"]["val/auroc"]
    for name in ("history.csv", "history.json"):
        assert (run.folder / name).read_text() == (finished.folder / name).read_text()


def test_resuming_a_finished_run_changes_nothing(finished, run):
    die_and_resume(run, 1 + 3 * STEPS_PER_EPOCH)
    before = run.last.read_bytes()
    run.fit(run.standard_callbacks(), resume=run.last)
    assert run.last.read_bytes() == before
    assert run.trainer.checkpoint_callback.best_model_path == str(run.best)
    assert_same_weights(run.task.state_dict(), finished.task.state_dict())


def test_validation_inside_an_epoch_always_refreshes_last(run):
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.append((trainer.global_step, load(run.last)["global_step"] if run.last.exists() else 0))

    run.fit([*run.standard_callbacks(), Watch()], max_epochs=2, val_check_interval=3)
    assert seen == [(step, step // 3 * 3) for step in range(2 * STEPS_PER_EPOCH)]


@pytest.mark.parametrize(
    ("options", "died_before_step", "last_every_n_steps"),
    [({"val_check_interval": 3}, STEPS_PER_EPOCH + 4, None), ({"accumulate_grad_batches": 2}, 4, 1)],
    ids=["validation-inside-an-epoch", "accumulated-gradients"],
)
def test_resuming_equals_not_stopping_also_with(dataset, run, tmp_path, options, died_before_step, last_every_n_steps):
    whole = TinyRun(dataset, tmp_path / "whole")
    whole.fit(whole.standard_callbacks(), max_epochs=2, **options)
    die_and_resume(run, died_before_step, last_every_n_steps, max_epochs=2, **options)
    assert_same_weights(run.task.state_dict(), whole.task.state_dict())
    assert run.history()["val/auroc"] == whole.history()["val/auroc"]


def test_a_monitor_that_is_not_logged_is_refused(run):
    with pytest.raises(MonitorError, match=r"val/aurocc is not logged in validation: choose one of .*val/auroc,"):
        run.fit([RunCheckpoint(str(run.folder), "val/aurocc")], max_epochs=1)
    with pytest.raises(MonitorError, match="choose max or min"):
        RunCheckpoint(str(run.folder), "val/auroc", "up")


def test_nan_is_never_the_best(run):
    class Odd(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("val/odd", [math.nan, 0.3, math.nan, 0.2][trainer.current_epoch])

    run.fit([Odd(), keeper := RunCheckpoint(str(run.folder), "val/odd", "min")])
    assert keeper.best_model_score == pytest.approx(0.2)


def test_another_folder_starts_without_a_best(finished, run):
    run.fit(run.standard_callbacks(), resume=finished.last, max_epochs=5)
    assert load(run.best)["epoch"] == 4


def test_what_a_killed_run_left_unfinished_is_removed(run):
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / ".last.ckpt.123.unfinished").write_bytes(b"half")
    run.fit(run.standard_callbacks(), max_epochs=1)
    assert sorted(path.name for path in (run.folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_full_disk_is_named_and_the_previous_checkpoint_survives(tmp_path):
    """The second checkpoint is larger than the disk; the error is the kernel's own."""
    command = [sys.executable, "-m", "tests.callbacks.full_disk", str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert re.search(r"cannot write .*last\.ckpt \(4\.0 MiB, .* MiB free on its disk\): File too large", child.stdout)
    assert "what was there before is untouched" in child.stdout
    assert list(load(tmp_path / "last.ckpt")) == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
