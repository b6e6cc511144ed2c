"""The stamps of a run: one dataset, its three splits, its quarantine."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.cache import CacheOptions, FileCache
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.memory import warn_of_open_row_groups
from dark_halo_scope.stamps.prefetch import Prefetch, files_by_first_use
from dark_halo_scope.stamps.reader import read_stamps, stamp_reader
from dark_halo_scope.stamps.row_datamodule import RowDataModule
from dark_halo_scope.stamps.stream import StreamOptions


class StampDataModule(RowDataModule):
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
        super().__init__(
            run_dir,
            stamp_reader,
            StreamOptions(num_threads, prefetch_batches, lanes, max_nonfinite_fraction),
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            quarantine_limit=quarantine_limit,
        )
        self._root = root
        self._index_cache = index_cache
        self._cache_options = cache
        self._prefetch: Prefetch | None = None
        if index is not None:
            self.index = index
        self._leak_checks = LeakChecks(region_column, host_column, on_split_leak, leave_out)

    def setup(self, stage: str | None = None) -> None:
        """Index the dataset and hold it to the contract, once, whatever the stage; fill the cache from now on.

        Raises:
            ContractError: When the dataset cannot be used.
            CacheError: When the cache cannot.
        """
        if not hasattr(self, "quarantine"):
            self._set_up()
        super().setup(stage)
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

    def train_dataloader(self) -> TrainLoader:
        """As `RowDataModule.train_dataloader`."""
        warn_of_open_row_groups(self.index, self._options.lanes)
        return super().train_dataloader()

    def read_stamps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels (n, 3, 64, 64) in nanomaggies of a few rows, in their order, for pictures.

        Raises:
            StampError: When one of them cannot be decoded.
        """
        return read_stamps(self.index, rows, self._options.max_nonfinite_fraction)
