"""The stamps of a run: one dataset, its three splits, its quarantine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning import LightningDataModule
from numpy.typing import NDArray

from dark_halo_scope.stamps.cache import CacheOptions, FileCache
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.memory import warn_of_open_row_groups
from dark_halo_scope.stamps.plan import PlanError, Share
from dark_halo_scope.stamps.prefetch import Prefetch, files_by_first_use
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.reader import read_stamps
from dark_halo_scope.stamps.stream import StreamOptions


class StampDataModule(LightningDataModule):
    """Streams the train, val and test stamps of a parquet dataset or of a training store made from one.

    Args:
        root: Folder, file or URI of the dataset: see `StampFiles.find`.
        run_dir: Run folder; bad rows are written below its ``quarantine/``.
        batch_size: Stamps of an optimiser step, over all ranks and accumulated batches.
        eval_batch_size: Stamps of a validation or test step, over all ranks.
        seed: Seed of the shuffle.
        num_threads: Decoding threads of each rank.
        prefetch_batches: Batches decoded ahead.
        lanes: Row groups that an epoch is shuffled over at a time, by all ranks together; memory grows with it.
        max_nonfinite_fraction: Fraction of a band up to which non-finite pixels are filled with the sky.
        quarantine_limit: Largest fraction of unusable stamps in one pass over a split.
        on_split_leak: ``stop`` or ``drop``: see `StampIndex.build`.
        leave_out: Which rows of train and val are not used: see `StampIndex.build`.
        region_column: Column that names the sky region.
        host_column: Column that names the host galaxy.
        index_cache: Folder where the index is kept for the next run; None to build it anew.
        cache: Where copies of remote files are kept; None to keep none. Local files are never copied.
        index: The dataset at ``root`` where it is indexed already; else ``setup`` does it.

    Attributes:
        index: The dataset's rows (after ``setup``).
        quarantine: The bad rows met so far (after ``setup``).
        cache: The copies of remote files and what they were good for (after ``setup``), if any are kept.
    """

    index: StampIndex
    quarantine: Quarantine
    cache: FileCache | None = None

    def __init__(
        self,
        root: str,
        run_dir: str,
        *,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
        num_threads: int = 2,
        prefetch_batches: int = 2,
        lanes: int = 128,
        max_nonfinite_fraction: float = 0.01,
        quarantine_limit: float = 0.001,
        on_split_leak: str = "stop",
        leave_out: str | None = None,
        region_column: str = "region_id",
        host_column: str = "host_id",
        index_cache: str | None = None,
        cache: CacheOptions | None = None,
        index: StampIndex | None = None,
    ) -> None:
        super().__init__()
        self._root = root
        self._run_dir = Path(run_dir)
        self._batch_size = batch_size
        self._eval_batch_size = eval_batch_size
        self._seed = seed
        self._options = StreamOptions(num_threads, prefetch_batches, lanes, max_nonfinite_fraction)
        self._quarantine_limit = quarantine_limit
        self._index_cache = index_cache
        self._cache_options = cache
        self._prefetch: Prefetch | None = None
        if index is not None:
            self.index = index
        self._leak_checks = LeakChecks(region_column, host_column, on_split_leak, leave_out)

    @property
    def fingerprint(self) -> str:
        """What identifies the dataset in checkpoints and reports: see `StampIndex`."""
        return self.index.fingerprint

    def setup(self, stage: str | None = None) -> None:
        """Index the dataset and hold it to the contract, once, whatever the stage; fill the cache from now on.

        Raises:
            ContractError: When the dataset cannot be used.
            CacheError: When the cache cannot.
        """
        if not hasattr(self, "quarantine"):
            self._set_up()
        if self._prefetch:
            self._prefetch.start()

    def teardown(self, stage: str | None = None) -> None:
        """Stop filling the cache; what is cached stays."""
        if self._prefetch:
            self._prefetch.stop()

    def _set_up(self) -> None:
        if not hasattr(self, "index"):
            self.index = cached_index(self._root, self._index_cache, self._leak_checks)
        if self._cache_options and not self.index.files.is_local:
            self.cache = FileCache(self._cache_options)
            self.index = replace(self.index, files=replace(self.index.files, cache=self.cache))
            order = files_by_first_use(self.index, seed=self._seed, lanes=self._options.lanes)
            files = self.index.files
            self._prefetch = Prefetch(self.cache, [files.remote(number) for number in order], files.retry)
        self.quarantine = Quarantine(
            self.index, self._run_dir / "quarantine", rank=self._rank, limit=self._quarantine_limit
        )

    def train_dataloader(self) -> TrainLoader:
        """Shuffled batches of the training stamps, each at most once an epoch.

        Raises:
            PlanError: When ``batch_size`` cannot be shared evenly by the ranks and accumulated batches.
        """
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        if self._batch_size % accumulated:
            raise PlanError(
                f"data.batch_size={self._batch_size} cannot be accumulated from {accumulated} batches; "
                f"choose a multiple of {accumulated}"
            )
        warn_of_open_row_groups(self.index, self._options.lanes)
        return TrainLoader(
            self.index,
            "train",
            self.quarantine,
            self._share(self._batch_size // accumulated),
            self._options_here(),
            seed=self._seed,
            reshuffle=not getattr(self.trainer, "overfit_batches", 0),  # Lightning: overfitting turns shuffling off
        )

    def val_dataloader(self) -> EvalLoader:
        """Every validation stamp exactly once."""
        return self._eval_loader("val")

    def test_dataloader(self) -> EvalLoader:
        """Every test stamp exactly once."""
        return self._eval_loader("test")

    def read_stamps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels (n, 3, 64, 64) in nanomaggies of a few rows, in their order, for pictures.

        Raises:
            StampError: When one of them cannot be decoded.
        """
        return read_stamps(self.index, rows, self._options.max_nonfinite_fraction)

    def _eval_loader(self, split: str) -> EvalLoader:
        share = self._share(self._eval_batch_size)
        return EvalLoader(self.index, split, self.quarantine, share, self._options_here())

    def _share(self, batch_size: int) -> Share:
        return Share(batch_size, self._rank, self.trainer.world_size if self.trainer else 1)

    def _options_here(self) -> StreamOptions:
        """The options, with page-locked memory where batches go to a GPU."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return replace(self._options, pin_memory=on_gpu)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0
