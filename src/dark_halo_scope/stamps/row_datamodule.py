"""What the datamodules of stamps and of windows share: three splits of an index, streamed, and their quarantine."""

from dataclasses import replace
from pathlib import Path

from lightning import LightningDataModule

from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.plan import PlanError, Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.reader import OpenReader
from dark_halo_scope.stamps.row_index import RowIndex
from dark_halo_scope.stamps.stream import StreamOptions


class RowDataModule(LightningDataModule):
    """Streams the train, val and test rows of an index.

    Args:
        run_dir: Run folder; bad rows are written below its ``quarantine/``.
        open_reader: Opens what reads the rows of the index.
        options: How rows are streamed.
        batch_size: Rows of an optimiser step, over all ranks and accumulated batches.
        eval_batch_size: Rows of a validation or test step, over all ranks.
        seed: Seed of the shuffle.
        quarantine_limit: Largest fraction of unusable rows in one pass over a split.

    Attributes:
        index: The dataset's rows (after ``setup``).
        quarantine: The bad rows met so far (after ``setup``).
    """

    index: RowIndex
    quarantine: Quarantine

    def __init__(
        self,
        run_dir: str,
        open_reader: OpenReader,
        options: StreamOptions,
        *,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        quarantine_limit: float,
    ) -> None:
        super().__init__()
        self._run_dir = Path(run_dir)
        self._open_reader = open_reader
        self._options = options
        self._batch_size = batch_size
        self._eval_batch_size = eval_batch_size
        self._seed = seed
        self._quarantine_limit = quarantine_limit

    @property
    def fingerprint(self) -> str:
        """What identifies the dataset in checkpoints and reports: see `RowIndex`."""
        return self.index.fingerprint

    def setup(self, stage: str | None = None) -> None:
        """Begin the quarantine, once, whatever the stage."""
        if not hasattr(self, "quarantine"):
            folder, limit = self._run_dir / "quarantine", self._quarantine_limit
            self.quarantine = Quarantine(self.index, folder, rank=self._rank, world=self._world, limit=limit)

    def train_dataloader(self) -> TrainLoader:
        """Shuffled batches of the training rows, each at most once an epoch.

        Raises:
            PlanError: When ``batch_size`` cannot be shared evenly by the ranks and accumulated batches.
        """
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        if self._batch_size % accumulated:
            raise PlanError(
                f"data.batch_size={self._batch_size} cannot be accumulated from {accumulated} batches; "
                f"choose a multiple of {accumulated}"
            )
        return TrainLoader(
            self.index,
            "train",
            self.quarantine,
            self._share(self._batch_size // accumulated),
            self._options_here(),
            seed=self._seed,
            reshuffle=not getattr(self.trainer, "overfit_batches", 0),  # Lightning: overfitting turns shuffling off
            open_reader=self._open_reader,
        )

    def val_dataloader(self) -> EvalLoader:
        """Every validation row exactly once."""
        return self._eval_loader("val")

    def test_dataloader(self) -> EvalLoader:
        """Every test row exactly once."""
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> EvalLoader:
        share, options = self._share(self._eval_batch_size), self._options_here()
        return EvalLoader(self.index, split, self.quarantine, share, options, open_reader=self._open_reader)

    def _share(self, batch_size: int) -> Share:
        return Share(batch_size, self._rank, self._world)

    def _options_here(self) -> StreamOptions:
        """The options, with page-locked memory where batches go to a GPU."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return replace(self._options, pin_memory=on_gpu)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1
