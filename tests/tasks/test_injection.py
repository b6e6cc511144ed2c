"""Training with fresh arcs, through the trainer and the real stream."""

import pytest
import torch
from lightning.pytorch import Callback

from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.tasks.lens_detection import LensDetectionTask
from dark_halo_scope.transforms.draws import draw_keys
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

        self.hook = task.inject.register_forward_hook(after_injection)

    def on_fit_end(self, trainer, task) -> None:
        self.hook.remove()

    def on_validation_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.validated |= dict(zip(batch["row"].tolist(), batch["label"].tolist(), strict=True))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("stamps") / "raw")


def fit(folder, dataset, fraction: float, batch_size: int) -> tuple[Seen, StampDataModule, LensDetectionTask]:
    task = build_task(composed("small_cnn", "online_injection", f"transforms.inject.fraction={fraction}"))
    seen, data = Seen(), StampDataModule(str(dataset), str(folder), batch_size=batch_size)
    tiny_trainer(folder, callbacks=[seen]).fit(task, datamodule=data)
    metrics = task.trainer.callback_metrics
    assert metrics["val/loss"].item() == pytest.approx(metrics["val/nll"].item(), rel=1e-4)  # is not weighed by them
    return seen, data, task


def test_controls_become_lenses_in_training_only_and_alike_in_any_batches(tmp_path, dataset):
    (small, data, _), (large, *_) = (fit(tmp_path / str(size), dataset, 0.5, size) for size in (4, 12))
    truth = dict(enumerate(data.index.label.tolist()))
    assert small.labels == large.labels
    lensed = [{row for row, label in labels.items() if label != truth[row]} for labels in small.labels.values()]
    assert lensed[0] != lensed[1]
    for rows in lensed:
        assert 0 < len(rows) < 24
        assert not any(truth[row] for row in rows)
    assert all(label == truth[row] for row, label in small.validated.items())


def test_pixels_change_where_labels_do(tmp_path, dataset):
    seen, data, task = fit(tmp_path, dataset, 0.5, 24)
    rows = data.index.rows("train")
    light = dict(zip(rows.tolist(), data.read_stamps(rows).sum((1, 2, 3)).tolist(), strict=True))
    for epoch, labels in seen.labels.items():
        for row, label in labels.items():
            assert (label != data.index.label[row]) == (abs(seen.light[epoch][row] - light[row]) > 1e-2)
    images, label = (torch.from_numpy(values) for values in (data.read_stamps(rows), data.index.label[rows]))
    batch = {"image": images, "label": label.long(), "row": torch.from_numpy(rows)}
    for epoch, labels in seen.labels.items():  # seed, epoch and row are all that an arc depends on
        keys = draw_keys(task.seed, epoch, batch["row"])
        again = task.inject(task.inject.choose(batch, keys), keys)
        assert again["label"].tolist() == [labels[row] for row in rows.tolist()]
        expected = [seen.light[epoch][row] for row in rows.tolist()]
        assert again["image"].sum((1, 2, 3)).tolist() == pytest.approx(expected, abs=1e-3)


def test_stamps_weigh_in_the_loss_as_the_injection_says():
    task = build_task(composed("small_cnn", "online_injection", "model.dropout=0"))
    task.log = lambda *_, **__: None
    generator = torch.Generator().manual_seed(3)
    batch = {"image": torch.randn(8, 3, 64, 64, generator=generator), "label": torch.arange(8) % 2}
    batch |= {"row": torch.arange(8), "chosen": torch.tensor([2]), "fwhm_r": torch.tensor([1.2])}

    def loss(*weights) -> float:
        return task.training_step(batch | {"weights": torch.tensor(weights).expand(8, 2)}).item()

    controls, lenses = loss(3.0, 0.0), loss(0.0, 1.0)
    assert min(controls, lenses) > 0
    assert loss(3.0, 1.0) == pytest.approx(controls + lenses, rel=1e-4)
