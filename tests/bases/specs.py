"""Specs for tests, and trainings that take no time."""

from dark_halo_scope.bases.spec import BaseSpec, EarlyStop, SplitSpec

FIELDS = {
    "data_fingerprint": "f" * 64,
    "preprocessing": {"_target_": "dark_halo_scope.transforms.normalise.MadClip", "clip": 10.0},
    "groups": ("p01", "p02", "p03"),
    "split": SplitSpec(val_fraction=0.2, seed=7, by="session"),
    "model": {"_target_": "dark_halo_scope.networks.small_cnn.SmallCNN", "dropout": 0.1},
    "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.999]},
    "scheduler": {"_target_": "dark_halo_scope.tasks.schedule.warmup_cosine", "_partial_": True, "floor_lr": 1e-6},
    "loss": {"label_smoothing": 0.0, "class_weighting": "none"},
    "augmentation": {"jitter": 0.05},
    "batch_size": 64,
    "max_epochs": 20,
    "early_stop": EarlyStop(metric="val/loss", mode="min", patience=5),
    "precision": "32-true",
    "seed": 1,
}


def base_spec(**changes):
    return BaseSpec(**{**FIELDS, **changes})


def train_nothing(spec, folder):
    """Leave a file that only the spec determines."""
    (folder / "weights.pt").write_bytes(spec.key().encode() * 100)
    return {"val/loss": 0.25}
