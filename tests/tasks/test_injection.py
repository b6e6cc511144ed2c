"""Training with fresh arcs, through the trainer and the real stream."""

import pytest
import torch
from lightning.pytorch import Callback

from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.transforms.draws import draw_keys
from tests.stamps.datasets import write_dataset
from tests.tasks.composed import composed
from tests.tasks.tiny import tiny_trainer


class Seen(Callback):
    """The rows that got an arc, by epoch, and the labels that training and validation saw."""

    def __init__(self) -> None:
        self.injected: dict[int, set[int]] = {}
        self.labels: dict[int, int] = {}
        self.validated: dict[int, int] = {}

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx) -> None:
        rows = batch["row"][batch["injected"]].tolist()
        self.injected.setdefault(trainer.current_epoch, set()).update(rows)
        self.labels |= dict(zip(batch["row"].tolist(), batch["label"].tolist(), strict=True))

    def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        assert "injected" not in batch
        self.validated |= dict(zip(batch["row"].tolist(), batch["label"].tolist(), strict=True))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("stamps") / "raw")


def fit(folder, dataset, fraction: float, batch_size: int) -> tuple[Seen, StampDataModule]:
    overrides = [f"transforms.inject.fraction={fraction}", "task.class_weighting=balanced"]
    task = build_task(composed("small_cnn", "online_injection", *overrides))
    seen, data = Seen(), StampDataModule(str(dataset), str(folder), batch_size=batch_size)
    tiny_trainer(folder, callbacks=[seen]).fit(task, datamodule=data)
    weights = task.criterion.class_weights
    assert weights[0] * (1 - fraction) * 24 == pytest.approx(float(weights[1] * (24 + fraction * 24)))
    return seen, data


def test_controls_become_lenses_in_training_only_and_alike_in_any_batches(tmp_path, dataset):
    (small, data), (large, _) = (fit(tmp_path / str(size), dataset, 0.5, size) for size in (4, 12))
    truth = dict(enumerate(data.index.label.tolist()))
    assert small.injected == large.injected
    assert small.injected[0] != small.injected[1]
    for rows in small.injected.values():
        assert 0 < len(rows) < 24
        assert not any(truth[row] for row in rows)
    assert all(label == truth[row] for row, label in small.validated.items())
    changed = {row for row, label in small.labels.items() if label != truth[row]}
    assert changed == small.injected[1]  # the labels of the last epoch


def test_pixels_change_where_labels_do(tmp_path, dataset):
    task = build_task(composed("small_cnn", "online_injection", "transforms.inject.fraction=0.5"))
    data = StampDataModule(str(dataset), str(tmp_path), batch_size=24)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    keys = draw_keys(task.seed, 0, batch["row"])
    chosen = task.inject.choose(batch, keys)
    injected = task.inject(batch["image"], chosen["injected"], keys)
    changed = (injected != batch["image"]).flatten(1).any(1)
    assert torch.equal(changed, chosen["label"] != batch["label"])
