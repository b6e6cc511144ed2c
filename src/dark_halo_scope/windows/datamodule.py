"""The windows of a run: three parts of one dataset."""

from dark_halo_scope.stamps.row_datamodule import RowDataModule
from dark_halo_scope.stamps.stream import StreamOptions
from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.reader import window_reader
from dark_halo_scope.windows.statistics import ChannelStatistics, channel_statistics


class WindowDataModule(RowDataModule):
    """Streams the train, val and test windows of an index.

    Args:
        root: The dataset as it was asked for; it is indexed already.
        run_dir: Run folder.
        batch_size: Windows of an optimiser step, over all ranks and accumulated batches.
        eval_batch_size: Windows of a validation or test step, over all ranks.
        seed: Seed of the shuffle.
        num_threads: Reading threads of each rank.
        prefetch_batches: Batches read ahead.
        lanes: Row groups that an epoch is shuffled over at a time, where a part is too large for a full shuffle.
        index: The rows of the dataset, with its parts: see `WindowIndex.with_parts`.
    """

    index: WindowIndex

    def __init__(
        self,
        root: str | None,
        run_dir: str,
        *,
        index: WindowIndex,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        seed: int = 0,
        num_threads: int = 1,
        prefetch_batches: int = 2,
        lanes: int = 128,
    ) -> None:
        super().__init__(
            run_dir,
            window_reader,
            StreamOptions(num_threads, prefetch_batches, lanes),
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            quarantine_limit=0.0,  # what is wrong with a window is refused when it is indexed
        )
        self.index = index

    def training_statistics(self) -> ChannelStatistics:
        """Of the channels of each participant, over the training windows alone."""
        return channel_statistics(self.index, self.index.rows("train"))
