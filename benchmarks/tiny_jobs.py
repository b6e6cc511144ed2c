"""Works whose networks are one small tensor, on real stores: what is left of a sweep's time is what the engine takes.

``data.batch_size`` is the number of the base model, ``seed`` that of the job, ``paths.data_dir`` the stores' folder.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dark_halo_scope.bases.base import save_weights
from dark_halo_scope.bases.canonical import canonical_json, content_key
from dark_halo_scope.bases.store import BaseStore
from dark_halo_scope.bases.work import Work


@dataclass(frozen=True)
class Tiny:
    """What determines a base model (no job) or a fine-tuning."""

    base: int
    job: int | None = None

    def key(self) -> str:
        """See `bases.base.Spec`."""
        return content_key(asdict(self))

    def to_json(self) -> str:
        """See `bases.base.Spec`."""
        return canonical_json(asdict(self))


class TinyWorkshop:
    """What ``hydra.launcher.workshop`` names."""

    def __init__(self, cfg: DictConfig) -> None:
        self.bases = BaseStore(Path(cfg.paths.data_dir) / "bases")
        self.tunings = BaseStore(self.bases.root / "tunings")

    def work(self, cfg: DictConfig, overrides: tuple[str, ...]) -> Work:
        """See `bases.work.Workshop`."""
        base, job = Tiny(cfg.data.batch_size), Tiny(cfg.data.batch_size, cfg.seed)
        tiny = TinyRun(self.bases.root, base, job)
        return Work(job.key(), base.key(), tiny.build, tiny.run, overrides, {"n_base": job.base, "seed": job.job})


@dataclass(frozen=True)
class TinyRun:
    """A fine-tuning and its base model, below a folder."""

    root: Path
    base: Tiny
    job: Tiny

    def build(self) -> None:
        """Make the base model."""
        BaseStore(self.root).build(self.base, lambda spec, folder: self._leave(torch.ones(32, 32), folder))

    def run(self) -> None:
        """Make the fine-tuning."""
        BaseStore(self.root / "tunings").build(self.job, self._tune)

    def _tune(self, spec: Tiny, folder: Path) -> dict[str, Any]:
        base = BaseStore(self.root).get(self.base.key())
        assert base is not None
        return self._leave(2 * base.weights()["weight"], folder)

    def _leave(self, weight: torch.Tensor, folder: Path) -> dict[str, Any]:
        save_weights({"weight": weight}, folder)
        return {"mean": weight.mean().item()}
