"""What a Trainer iterates over: one rank's batches of a split, for training and for evaluation.

The number of batches is the same on every rank and never changes: rows that cannot be used only make a batch shorter.
"""

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.plan import EvalBatches, PlanError, Share, TrainBatches
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.reader import OpenReader, RowReader, stamp_reader
from dark_halo_scope.stamps.row_index import RowIndex
from dark_halo_scope.stamps.stream import Batch, StreamOptions, stream_batches

_ROWS_AT_A_TIME = 32  # of a lane: 1.5 MB of npz, of which two pieces are held

# What the rows of the next batches depend on, by key of a loader's state, and how a user changes it.
_DECIDES_ROWS = {
    "batch_size": "the number of rows in a batch (data.batch_size / trainer.accumulate_grad_batches)",
    "n_rows": "the number of rows of the split",
    "seed": "the seed of the shuffle (seed or data.seed)",
    "reshuffle": "shuffling anew in every epoch (off with trainer.overfit_batches)",
    "lanes": "the number of lanes of the shuffle (data.lanes; 0: none, any row may come at any place)",
}


class EvalLoader:
    """Every row of a split exactly once, in file order (`plan.EvalBatches`); batches as `stream_batches` gives.

    Args:
        index: The dataset.
        split: Name of the split.
        quarantine: Where bad rows go.
        share: Size of the batches and this rank's part in them.
        options: How to stream.
        open_reader: Opens what reads the rows of the dataset.
    """

    def __init__(
        self,
        index: RowIndex,
        split: str,
        quarantine: Quarantine,
        share: Share,
        options: StreamOptions,
        *,
        open_reader: OpenReader = stamp_reader,
    ) -> None:
        self._index = index
        self._split = split
        self._quarantine = quarantine
        self._options = options
        self._open_reader = open_reader
        rows = index.split_rows(split)
        self._batches = EvalBatches(rows, share)
        groups_per_batch = len(rows.groups) / share.world / len(self._batches)
        self._open_row_groups = math.ceil((options.prefetch_batches + 1) * groups_per_batch) + 2

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the first on; nothing is read before it is asked for."""
        reader = self._open_reader(
            self._index,
            open_row_groups=self._open_row_groups,
            max_nonfinite_fraction=self._options.max_nonfinite_fraction,
        )
        return stream_batches(self._index, self._split, self._batches, 0, reader, self._quarantine, self._options)


class TrainLoader:
    """Shuffled batches, each row at most once an epoch; batches as `stream_batches` gives.

    It is what Lightning calls a stateful loader: ``state_dict`` names the next batch of an epoch, and once loaded,
    iteration goes on there if the epoch is the same. Epoch and position are read when the first batch is asked for,
    because Lightning makes the iterator before it sets the epoch.

    Of a split that is shuffled fully, the row groups stay open after an epoch that came to its end: mapped or held,
    they are neither mapped nor read again.

    Inside an epoch only a loader that shuffles alike, into batches as large, can go on; the number of ranks may be
    another one. The place of other batches could be worked out, but Lightning (2.6) goes on with its own count of them:
    with 2 batches of 8 done of 48 rows, it asks for 10 more batches of 4 (8 rows too many) and for none of 24.

    Args:
        index: The dataset.
        split: Name of the split.
        quarantine: Where bad rows go.
        share: Size of the batches and this rank's part in them.
        options: How to stream.
        seed: Seed of the shuffle.
        reshuffle: Whether epochs differ; without, each repeats the first, to overfit a few batches on purpose.
        open_reader: Opens what reads the rows of the dataset.
    """

    def __init__(
        self,
        index: RowIndex,
        split: str,
        quarantine: Quarantine,
        share: Share,
        options: StreamOptions,
        *,
        seed: int,
        reshuffle: bool = True,
        open_reader: OpenReader = stamp_reader,
    ) -> None:
        self._index = index
        self._split = split
        self._quarantine = quarantine
        self._share = share
        self._options = options
        self._seed = seed
        self._reshuffle = reshuffle
        self._open_reader = open_reader
        self._rows = index.split_rows(split)
        self._length = plan.train_steps(len(self._rows), share)
        self._is_shuffled_fully = plan.is_shuffled_fully(self._rows, options.lanes)
        self._epoch = 0
        self._next_batch = 0
        self._loaded: dict[str, Any] | None = None
        self._kept: RowReader | None = None

    @property
    def sampler(self) -> "TrainLoader":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows; another one begins with its first batch.

        Raises:
            PlanError: When a position inside this epoch was loaded that this loader cannot go on from.
        """
        if epoch != self._epoch:
            self._epoch, self._next_batch = epoch, 0
        self._check_position()

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it depends on: the same on every rank.

        ``epoch``, ``next_batch`` (which comes next in it), ``batch_size`` (rows of a batch over all ranks), ``n_rows``
        of the split, ``seed``, ``reshuffle`` and ``lanes`` (0 of a full shuffle).
        """
        return {"epoch": self._epoch, "next_batch": self._next_batch, **self._decides_rows()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration begin at the batch that ``state`` names, unless another epoch is set before."""
        self._epoch, self._next_batch = state["epoch"], state["next_batch"]
        self._loaded = state

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch, from the position that was loaded or from the first on.

        Raises:
            PlanError: When a position inside the epoch was loaded that this loader cannot go on from.
        """
        if self._loaded is None:
            self._next_batch = 0
        self._check_position()
        self._loaded = None
        order = plan.epoch_order(
            self._rows, seed=self._seed, epoch=self._epoch if self._reshuffle else 0, lanes=self._options.lanes
        )
        batches = TrainBatches(len(self._rows), order, self._share)
        if self._kept:
            self._index.files.check_unchanged()
        reader, self._kept = self._kept or self._reader(), None
        stream = stream_batches(
            self._index, self._split, batches, self._next_batch, reader, self._quarantine, self._options
        )
        with closing(stream):
            for batch in stream:
                self._next_batch += 1
                if self._is_shuffled_fully and self._next_batch == self._length:
                    self._kept = reader  # now that no thread reads: what is broken off stays so in a reader
                yield batch

    def _decides_rows(self) -> dict[str, Any]:
        """The values of `_DECIDES_ROWS`."""
        return {
            "batch_size": self._share.batch_size,
            "n_rows": len(self._rows),
            "seed": self._seed,
            "reshuffle": self._reshuffle,
            "lanes": 0 if self._is_shuffled_fully else self._options.lanes,
        }

    def _check_position(self) -> None:
        """Refuse to go on inside an epoch where rows would be lost or come twice; older states name no conditions."""
        if self._loaded is None or self._next_batch == 0:
            return
        then, now = self._loaded, self._decides_rows()
        changes = [
            f"{told} was {then[key]} and is {now[key]}"
            for key, told in _DECIDES_ROWS.items()
            if key in then and then[key] != now[key]
        ]
        if changes:
            raise PlanError(
                f"the checkpoint was written inside epoch {self._epoch}, after {self._next_batch} batches, and rows "
                f"would be lost or come twice in the rest of it: {'; '.join(changes)}. Set it back until the epoch "
                "has ended, or start a new run"
            )

    def _reader(self) -> RowReader:
        """What reads whole row groups and keeps them all, or this rank's lanes piece by piece."""
        lanes = math.ceil(self._options.lanes / self._share.world)
        # A lane's last row group stays open for a while after the lane went on to the next.
        return self._open_reader(
            self._index,
            open_row_groups=len(self._rows.groups) if self._is_shuffled_fully else lanes + lanes // 8 + 4,
            max_nonfinite_fraction=self._options.max_nonfinite_fraction,
            rows_at_a_time=None if self._is_shuffled_fully else _ROWS_AT_A_TIME,
        )
