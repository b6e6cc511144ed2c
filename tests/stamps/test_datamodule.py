import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.plan import PlanError
from tests.stamps.datasets import Row, stamp_image, write_dataset


class Recorder(LightningModule):
    """Writes down which rows each step of a real Trainer is given."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.steps: list[tuple[int, list[int]]] = []
        self.val_rows: list[int] = []
        self.stop_at = stop_at

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.steps.append((self.current_epoch, batch["row"].tolist()))
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        self.val_rows += batch["row"].tolist()

    def test_step(self, batch, batch_idx):
        self.val_rows += batch["row"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_for(folder, **options) -> Trainer:
    options = {"max_epochs": 3, "enable_checkpointing": False} | options
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


@pytest.fixture
def data(tmp_path):
    root = write_dataset(tmp_path / "survey")
    return lambda **options: StampDataModule(str(root), str(tmp_path / "run"), **({"batch_size": 12} | options))


def test_a_trainer_reshuffles_every_epoch_and_validates_every_stamp(data, tmp_path):
    task = Recorder()
    trainer_for(tmp_path).fit(task, data())
    assert [epoch for epoch, _ in task.steps] == [0] * 4 + [1] * 4 + [2] * 4
    epochs = [tuple(row for e, rows in task.steps if e == epoch for row in rows) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(48)) for epoch in epochs)
    assert len(set(epochs)) == 3
    assert task.val_rows == list(range(48, 72)) * 3


def test_the_test_split_is_seen_once(data, tmp_path):
    task = Recorder()
    trainer_for(tmp_path).test(task, data(eval_batch_size=5), verbose=False)
    assert task.val_rows == list(range(72, 96))


@pytest.mark.parametrize("stop", [1, 4, 6, 11])
def test_a_killed_run_goes_on_with_the_next_batch(data, tmp_path, stop):
    whole = Recorder()
    trainer_for(tmp_path).fit(whole, data())

    every_step = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=1, save_last=True)
    interrupted = Recorder(stop_at=stop)
    with pytest.raises(SystemExit):
        trainer_for(tmp_path, callbacks=[every_step], enable_checkpointing=True).fit(interrupted, data())
    assert interrupted.steps == whole.steps[:stop]

    resumed = Recorder()
    last = tmp_path / "checkpoints" / "last.ckpt"
    trainer_for(tmp_path).fit(resumed, data(num_threads=1), ckpt_path=last, weights_only=True)
    assert resumed.steps == whole.steps[stop:]


@pytest.mark.parametrize("every", [2, 1.0])
def test_a_run_goes_on_from_a_checkpoint_of_a_validation(data, tmp_path, every):
    saved = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", save_top_k=-1)
    whole = Recorder()
    options = {"val_check_interval": every, "callbacks": [saved], "enable_checkpointing": True}
    trainer_for(tmp_path, **options).fit(whole, data())
    checkpoints = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    assert len(checkpoints) == 12 // (every if every == 2 else 4)
    for checkpoint in checkpoints:
        done = int(checkpoint.stem.removeprefix("step="))
        resumed = Recorder()
        trainer_for(tmp_path, val_check_interval=every).fit(resumed, data(), ckpt_path=checkpoint, weights_only=True)
        assert resumed.steps == whole.steps[done:]


@pytest.fixture
def first_epochs(data, tmp_path):
    """Checkpoints after 2 of 4 batches, and after all 4, of the first epoch."""
    saved = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=2)
    end = ModelCheckpoint(tmp_path / "checkpoints", filename="end", save_on_train_epoch_end=True)
    trainer_for(tmp_path, callbacks=[saved, end], enable_checkpointing=True, max_epochs=1).fit(Recorder(), data())
    return tmp_path / "checkpoints" / "step=2.ckpt", tmp_path / "checkpoints" / "end.ckpt"


@pytest.mark.parametrize(
    ("change", "accumulate", "is_now"),
    [({"batch_size": 8}, 1, 8), ({"batch_size": 24}, 1, 24), ({}, 2, 6)],
    ids=["smaller", "larger", "accumulated"],
)
def test_only_between_epochs_may_batches_change(data, first_epochs, tmp_path, change, accumulate, is_now):
    inside, end = first_epochs
    task, options = Recorder(), {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    trainer_for(tmp_path, **options).fit(task, data(**change), ckpt_path=end, weights_only=True)
    assert [(epoch, len(rows)) for epoch, rows in task.steps] == [(1, is_now)] * (48 // is_now)
    assert sorted(row for _, rows in task.steps for row in rows) == list(range(48))
    refused = Recorder()
    with pytest.raises(PlanError, match=f"inside epoch 0, after 2 batches, .* was 12 and is {is_now}. Set it back"):
        trainer_for(tmp_path, **options).fit(refused, data(**change), ckpt_path=inside, weights_only=True)
    assert not refused.steps


def test_overfitting_repeats_the_same_batches(data, tmp_path):
    task = Recorder()
    trainer_for(tmp_path, overfit_batches=2, max_epochs=2).fit(task, data())
    assert [rows for _, rows in task.steps[:2]] == [rows for _, rows in task.steps[2:]]


def test_a_limited_epoch_is_followed_by_a_whole_new_one(data, tmp_path):
    task = Recorder()
    trainer_for(tmp_path, limit_train_batches=2, max_epochs=2).fit(task, data())
    assert [epoch for epoch, _ in task.steps] == [0, 0, 1, 1]
    assert task.steps[0][1] != task.steps[2][1]


def test_the_batch_size_counts_accumulated_batches(data, tmp_path):
    task = Recorder()
    trainer_for(tmp_path, accumulate_grad_batches=3, max_epochs=1).fit(task, data())
    assert {len(rows) for _, rows in task.steps} == {4}
    with pytest.raises(PlanError, match=r"data\.batch_size=12 cannot be accumulated from 5 batches"):
        trainer_for(tmp_path, accumulate_grad_batches=5).fit(task, data())


def test_setup_indexes_once(data):
    module = data()
    module.setup("fit")
    index = module.index
    module.setup("test")
    assert module.index is index
    assert len(module.fingerprint) == 64


def test_stamps_are_read_for_pictures_in_the_order_asked_for(data):
    module = data()
    module.setup()
    rows = np.array([90, 3, 50, 3, 0])
    expected = np.stack([stamp_image(row, is_lens=row % 2 == 1) for row in rows])
    np.testing.assert_array_equal(module.read_stamps(rows), expected)


def test_a_bad_stamp_asked_for_is_named(tmp_path):
    def change(number: int, row: Row) -> None:
        if number == 50:
            row["stamp_npz"] = b"no zip"

    module = StampDataModule(str(write_dataset(tmp_path / "survey", change=change)), str(tmp_path))
    module.setup()
    with pytest.raises(StampError, match=r"part-001\.parquet, row 2: 6 bytes are too few for a zip"):
        module.read_stamps(np.array([1, 50]))
