"""Training with fresh arcs, through the trainer and the real stream."""

import pytest
from lightning.pytorch import Callback

from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.tasks.build import build_task
from tests.stamps.datasets import write_dataset
from tests.tasks.composed import composed
from tests.tasks.tiny import tiny_trainer


class Seen(Callback):
    """Labels by row that training, by epoch, and validation saw, and a number of the pixels that training saw."""

    def __init__(self) -> None:
        self.labels: dict[int, dict[int, int]] = {}
        self.light: dict[int, dict[int, float]] = {}
        self.validated: dict[int, int] = {}

    def on_fit_start(self, trainer, task) -> None:
        def after_injection(inject, arguments, batch) -> None:
            rows, light = batch["row"].tolist(), batch["image"].sum((1, 2, 3)).tolist()
            self.labels.setdefault(trainer.current_epoch, {}).update(zip(rows, batch["label"].tolist(), strict=True))
            self.light.setdefault(trainer.current_epoch, {}).update(zip(rows, light, strict=True))

        task.inject.register_forward_hook(after_injection)

    def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.validated |= dict(zip(batch["row"].tolist(), batch["label"].tolist(), strict=True))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("stamps") / "raw")


def fit(folder, dataset, fraction: float, batch_size: int) -> tuple[Seen, StampDataModule]:
    task = build_task(composed("small_cnn", "online_injection", f"transforms.inject.fraction={fraction}"))
    seen, data = Seen(), StampDataModule(str(dataset), str(folder), batch_size=batch_size)
    tiny_trainer(folder, callbacks=[seen]).fit(task, datamodule=data)
    seen_counts = (1 - fraction) * 24, (1 + fraction) * 24
    assert task.criterion.class_weights.tolist() == pytest.approx([24 / n for n in seen_counts])
    return seen, data


def test_controls_become_lenses_in_training_only_and_alike_in_any_batches(tmp_path, dataset):
    (small, data), (large, _) = (fit(tmp_path / str(size), dataset, 0.5, size) for size in (4, 12))
    truth = dict(enumerate(data.index.label.tolist()))
    assert small.labels == large.labels
    lensed = [{row for row, label in labels.items() if label != truth[row]} for labels in small.labels.values()]
    assert lensed[0] != lensed[1]
    for rows in lensed:
        assert 0 < len(rows) < 24
        assert not any(truth[row] for row in rows)
    assert all(label == truth[row] for row, label in small.validated.items())


def test_pixels_change_where_labels_do(tmp_path, dataset):
    seen, data = fit(tmp_path, dataset, 0.5, 24)
    rows = data.index.rows("train")
    light = dict(zip(rows.tolist(), data.read_stamps(rows).sum((1, 2, 3)).tolist(), strict=True))
    for epoch, labels in seen.labels.items():
        for row, label in labels.items():
            assert (label != data.index.label[row]) == (abs(seen.light[epoch][row] - light[row]) > 1e-2)
