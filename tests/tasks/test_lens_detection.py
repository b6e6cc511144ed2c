import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import nn
from torch.utils.data import DataLoader

from dark_halo_scope.networks.small_cnn import SmallCNN
from dark_halo_scope.tasks.base import DivergedError
from dark_halo_scope.tasks.schedule import ScheduleError, warmup_cosine
from dark_halo_scope.transforms.augment import Augment
from tests.tasks.tiny import TinyStamps, tiny_stamps, tiny_task, tiny_trainer


class Recorder(Callback):
    """Keeps what is logged, and the gradients that the optimiser takes."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.epochs: list[dict[str, float]] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer, task, outputs: STEP_OUTPUT, batch, batch_idx) -> None:
        self.steps.append({name: float(value) for name, value in trainer.logged_metrics.items()})
        self.steps[-1]["clipped_norm"] = float(nn.utils.get_total_norm([p.grad for p in task.parameters()]))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer, task) -> None:
        scores = task.gathered_scores("val")
        assert len(scores["row"]) == 37  # at hand for callbacks
        self.epochs.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_a_fit_learns_and_logs_all_its_numbers(tmp_path):
    recorder, task = Recorder(), tiny_task()
    trainer = tiny_trainer(tmp_path, max_epochs=12, callbacks=[recorder])
    trainer.fit(task, datamodule=TinyStamps())
    assert recorder.epochs[-1]["val/auroc"] > 0.97
    assert recorder.epochs[-1]["val/nll"] < 0.5 * recorder.epochs[0]["val/nll"]
    assert {"val/loss", "val/nll", "val/ap", "val/brier", "val/f1_lens", "val/specificity"} <= recorder.epochs[0].keys()
    assert trainer.callback_metrics["train/loss"] < math.log(2)
    assert trainer.test(task, datamodule=TinyStamps(), verbose=False)[0]["test/n_control"] == 24
    assert recorder.epochs[0]["val/loss"] == pytest.approx(recorder.epochs[0]["val/nll"], abs=1e-5)


def test_the_logged_gradient_norm_is_the_one_before_clipping(tmp_path):
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, max_epochs=1, callbacks=[recorder], gradient_clip_val=1e-3)
    trainer.fit(tiny_task(), datamodule=TinyStamps())
    for step in recorder.steps:
        assert step["train/grad_norm"] > 0.05
        assert step["clipped_norm"] == pytest.approx(1e-3, rel=1e-2)


def test_the_schedule_counts_optimiser_steps_under_accumulation(tmp_path):
    """4 batches an epoch, 3 of them a step, so 2 steps an epoch: the last, shorter window steps too."""
    recorder = Recorder()
    seen: dict[str, int] = {}

    def scheduler(optimizer, **steps):
        seen.update(steps)
        return warmup_cosine(optimizer, warmup_epochs=1, **steps)

    trainer = tiny_trainer(tmp_path, max_epochs=3, accumulate_grad_batches=3, callbacks=[recorder])
    trainer.fit(tiny_task(scheduler=scheduler), datamodule=TinyStamps())
    assert seen == {"total_steps": 6, "steps_per_epoch": 2}
    assert trainer.global_step == 6
    assert max(recorder.rates) == pytest.approx(3e-3)
    assert recorder.rates[-1] == pytest.approx(1e-6)


def test_two_fits_are_equal_bit_for_bit(tmp_path):
    tasks = [tiny_task(network=SmallCNN(), augment=Augment(max_shift_px=1)) for _ in range(2)]
    tasks[1].load_state_dict(tasks[0].state_dict())
    for task in tasks:
        tiny_trainer(tmp_path).fit(task, datamodule=TinyStamps())
    first, second = (task.state_dict() for task in tasks)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path):
    every_epoch = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    options = {"max_epochs": 3, "enable_checkpointing": True}
    whole, resumed = tiny_task(), tiny_task()
    tiny_trainer(tmp_path, callbacks=[every_epoch], **options).fit(whole, datamodule=TinyStamps())
    second = tiny_trainer(tmp_path / "second", **options)
    second.fit(resumed, datamodule=TinyStamps(), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    first, again = whole.state_dict(), resumed.state_dict()
    assert second.global_step == 12
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_channels_last_and_autocast_change_speed_and_not_the_logits():
    images = tiny_stamps(8, seed=4)["image"]
    plain, fast = tiny_task().eval(), tiny_task(channels_last=True).eval()
    assert fast.network.features[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(images), plain(images), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = fast(images)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain(images), rtol=0, atol=0.02)


def test_balanced_classes_take_their_counts_from_the_training_split(tmp_path):
    task = tiny_task(class_weighting="balanced")
    tiny_trainer(tmp_path, max_epochs=1).fit(task, datamodule=TinyStamps())
    assert task.criterion.class_weights.tolist() == pytest.approx([64 / 84, 64 / 44])


def test_a_diverged_loss_stops_the_run_in_words(tmp_path):
    task = tiny_task(optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(DivergedError, match=r"became NaN or infinite in epoch 0.*lower optimizer.lr"):
        tiny_trainer(tmp_path, gradient_clip_val=None).fit(task, datamodule=TinyStamps())


def test_a_sanity_check_of_one_class_neither_fails_nor_logs(tmp_path):
    class OneClassFirst(TinyStamps):
        def val_dataloader(self):
            first, *others = super().val_dataloader()
            controls = {name: values[first["label"] == 0] for name, values in first.items()}
            return DataLoader([controls, *others], batch_size=None)

    task, trainer = tiny_task(), tiny_trainer(tmp_path, num_sanity_val_steps=1, max_epochs=1)
    trainer.fit(task, datamodule=OneClassFirst())
    assert len(task.gathered_scores("val")["row"]) == 37 - 6


def test_a_training_without_an_end_is_refused(tmp_path):
    with pytest.raises(ScheduleError, match=r"set trainer.max_epochs"):
        tiny_trainer(tmp_path, max_epochs=-1).fit(tiny_task(), datamodule=TinyStamps())


def test_averaged_weights_are_those_that_are_validated(tmp_path):
    task = tiny_task()
    trainer = tiny_trainer(tmp_path, callbacks=[EMAWeightAveraging(decay=0.5)])
    trainer.fit(task, datamodule=TinyStamps())
    fitted = trainer.callback_metrics["val/nll"]
    assert trainer.validate(task, datamodule=TinyStamps(), verbose=False)[0]["val/nll"] == pytest.approx(float(fitted))


def test_scores_before_any_evaluation_are_an_error():
    with pytest.raises(ValueError, match="run its evaluation first"):
        tiny_task().gathered_scores("val")
