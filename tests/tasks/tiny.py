"""A tiny learnable problem in memory, cut over ranks like the real stream, and tasks that learn it in seconds."""

from functools import partial
from types import SimpleNamespace

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from dark_halo_scope.networks.small_cnn import SmallCNN
from dark_halo_scope.tasks.lens_detection import LensDetectionTask
from dark_halo_scope.tasks.schedule import warmup_cosine
from dark_halo_scope.transforms.augment import Augment
from dark_halo_scope.transforms.normalise import AnnulusAsinh

SIZE_PX = 16


def tiny_stamps(n: int, seed: int) -> dict[str, torch.Tensor]:
    """Noise, and in every third stamp a square in the middle: (n, 3, 16, 16), rows in no order."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, SIZE_PX, SIZE_PX, generator=generator) * 0.01
    label = (torch.arange(n) % 3 == 0).long()
    image[:, :, 6:10, 6:10] += 0.01 * label[:, None, None, None]
    return {"image": image, "label": label, "row": 1000 + torch.randperm(n, generator=generator)}


class TinyStamps(LightningDataModule):
    """64 training and 37 evaluation stamps; two ranks hold unequal shares of the evaluation."""

    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.index = SimpleNamespace(class_counts=lambda split: {"control": 42, "lens": 22})

    def train_dataloader(self) -> DataLoader:
        return self._batches(tiny_stamps(64, seed=1))

    def val_dataloader(self) -> DataLoader:
        return self._batches(tiny_stamps(37, seed=2))

    def test_dataloader(self) -> DataLoader:
        return self._batches(tiny_stamps(37, seed=3))

    def _batches(self, stamps: dict[str, torch.Tensor]) -> DataLoader:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        mine = {name: values[rank::world].split(self.batch_size) for name, values in stamps.items()}
        batches = [dict(zip(mine, parts, strict=True)) for parts in zip(*mine.values(), strict=True)]
        return DataLoader(batches, batch_size=None)  # a bare list would be taken for several loaders


def tiny_task(**options) -> LensDetectionTask:
    torch.manual_seed(7)
    parts = {
        "network": SmallCNN(),
        "normalise": AnnulusAsinh(radius_px=6, size_px=SIZE_PX),
        "augment": Augment(),
        "optimizer": partial(torch.optim.AdamW, lr=3e-3, weight_decay=1e-2),
        "scheduler": partial(warmup_cosine, warmup_steps=2),
        "seed": 11,
    }
    return LensDetectionTask(**(parts | options))


def tiny_trainer(folder, **options) -> Trainer:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "gradient_clip_val": 1.0,
        "log_every_n_steps": 1,
        "max_epochs": 2,
    }
    return Trainer(**(quiet | options))
