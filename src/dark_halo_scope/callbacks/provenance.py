"""What a checkpoint must carry besides weights, so that it explains itself and a resumed run is the same run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from omegaconf import OmegaConf

from dark_halo_scope.callbacks.code_version import code_version, library_versions
from dark_halo_scope.callbacks.rng import gather_over_ranks, rng_state, set_rng_state

log = logging.getLogger(__name__)


class ResumeError(ValueError):
    """A checkpoint that this run cannot go on from."""


def check_same_data(checkpoint: Mapping[str, Any], fingerprint: str, path: str) -> None:
    """Refuse to go on from a checkpoint on other data than it was trained on.

    Raises:
        ResumeError: the fingerprints differ.
    """
    then = checkpoint["data_fingerprint"]
    if then != fingerprint:
        raise ResumeError(
            f"{path} was trained on other data (fingerprint {then[:12]}) than data.root holds now "
            f"({fingerprint[:12]}): set data.root back to the data it was trained on, or start a new run"
        )


class Provenance(Callback):
    """Adds to every checkpoint config, data, code and random states; on resume checks the data, restores the states.

    The data position is handed to the training loader here because Lightning (2.6) leaves that out as soon as
    anything, such as a schedule, has asked for the number of steps before training: an epoch would begin anew. Random
    states are set just before the next training step or epoch: whatever setting up drew from the generators
    is forgotten, and dropout goes on as if nothing had happened.

    Keys added (all readable with ``weights_only=True``): ``config`` (resolved), ``preprocessing`` (its
    ``transforms``), ``rng`` and ``epoch_so_far`` (lists over ranks; the latter is what an unfinished epoch has added
    up: the training loss, and the rows that the quarantine has seen), ``data_fingerprint``, ``data_position``,
    ``code_version``, ``versions``, and ``calibrator`` and ``thresholds``, which stay None until calibration.

    Args:
        config_file: the run's resolved config, written before training starts.
    """

    def __init__(self, config_file: str) -> None:
        self.config_file = Path(config_file)
        self._config: Any = None
        self._rng_to_restore: dict[str, Any] | None = None
        self._data_position: dict[str, Any] | None = None
        self._epoch_so_far: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the config; only rank 0 writes checkpoints."""
        if stage == "fit" and trainer.is_global_zero:
            self._config = OmegaConf.to_container(OmegaConf.load(self.config_file), resolve=True)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the keys."""
        rng = gather_over_ranks(rng_state())
        added_up = {"loss": pl_module.train_loss.sums(), "quarantine": trainer.datamodule.quarantine.counts()}
        epoch_so_far = gather_over_ranks(added_up)
        if trainer.is_global_zero:
            checkpoint |= {
                "config": self._config,
                "preprocessing": self._config["transforms"],
                "rng": rng,
                "epoch_so_far": epoch_so_far,
                "data_fingerprint": trainer.datamodule.fingerprint,
                "data_position": trainer.train_dataloader.state_dict(),
                "code_version": code_version(),
                "versions": library_versions(),
                "calibrator": None,
                "thresholds": None,
            }

    def on_load_checkpoint(self, trainer: Any, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse other data; keep this rank's random state until training starts."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        check_same_data(checkpoint, trainer.datamodule.fingerprint, trainer.ckpt_path)
        self._data_position = checkpoint["data_position"]
        self._epoch_so_far = checkpoint["epoch_so_far"]
        if len(checkpoint["rng"]) == trainer.world_size:
            self._rng_to_restore = checkpoint["rng"][trainer.global_rank]
        else:
            log.warning(
                "resumed with %d processes instead of %d: dropout goes on from fresh random states",
                trainer.world_size,
                len(checkpoint["rng"]),
            )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Send the loader to where the checkpoint was written, if that was inside an epoch, and go on adding up."""
        if self._data_position is not None and trainer.fit_loop.restarted_mid_epoch:
            trainer.train_dataloader.load_state_dict(self._data_position)
            for added_up in self._epoch_so_far[trainer.global_rank :: trainer.world_size]:
                pl_module.train_loss.add_sums(*added_up["loss"])
                trainer.datamodule.quarantine.add_counts(added_up["quarantine"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random state when resuming between two epochs."""
        self._restore_rng()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Restore the random state when resuming inside an epoch, which has no epoch start."""
        self._restore_rng()

    def _restore_rng(self) -> None:
        if self._rng_to_restore is not None:
            set_rng_state(self._rng_to_restore)
            self._rng_to_restore = None
