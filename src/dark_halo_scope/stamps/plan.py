"""Who reads which stamp when: pure functions, no files, no state.

The order of an epoch depends on (data, seed, epoch) only, never on threads, ranks or how far a run has come. So a run
resumes in mid-epoch from one number, the next step, and any number of ranks optimises over the same global batches.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class PlanError(ValueError):
    """A split that cannot be shared out as asked."""


@dataclass(frozen=True)
class Share:
    """What one rank takes of every global batch.

    Attributes:
        batch_size: Stamps of a global batch, over all ranks.
        rank: This rank.
        world: Number of ranks.

    Raises:
        PlanError: When a global batch cannot be shared evenly.
    """

    batch_size: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.world:
            raise PlanError(
                f"a batch of {self.batch_size} stamps cannot be shared evenly by {self.world} ranks; "
                f"choose a multiple of {self.world} (it counts the stamps of a step over all ranks)"
            )


def epoch_order(rows: Rows, group_starts: Rows, *, seed: int, epoch: int, open_row_groups: int) -> Rows:
    """The rows of a split in the order of one epoch: a permutation that keeps few row groups open at a time.

    Row groups take up their places in random order, one place after the other, and each spreads its rows evenly over
    the next ``open_row_groups`` places, round the corner at the end. So at any moment about that many row groups are
    in use, as many at the beginning as later, and they are used up one by one rather than all together. A split
    with no more row groups than that is shuffled fully.

    Args:
        rows: Global row numbers of the split, ascending; (N,).
        group_starts: First row of each row group of the dataset and, last, the number of rows.
        seed: Seed of the run.
        epoch: Number of the epoch.
        open_row_groups: How many row groups may be open together.
    """
    rng = np.random.default_rng([seed, epoch])
    _, group = np.unique(np.searchsorted(group_starts, rows, "right"), return_inverse=True)
    n_groups = int(group[-1]) + 1
    if n_groups <= open_row_groups:
        return rng.permutation(rows)
    place = rng.permutation(n_groups)[group]
    moment = (place + open_row_groups * rng.random(len(rows))) % n_groups
    return rows[np.argsort(moment, kind="stable")]


def train_batches(order: Rows, share: Share) -> list[Rows]:
    """This rank's batches of an epoch: its part of every global batch.

    Every rank takes as many steps, every stamp comes at most once, and the rows of the last, incomplete global batch
    (other ones in every epoch) are left over.

    Raises:
        PlanError: When the split is smaller than one global batch.
    """
    size = share.batch_size
    if len(order) < size:
        raise PlanError(
            f"the train split has {len(order)} stamps, fewer than one batch of {size}; lower data.batch_size"
        )
    part = size // share.world
    starts = range(share.rank * part, len(order) - len(order) % size, size)
    return [order[start : start + part] for start in starts]


def eval_batches(rows: Rows, share: Share) -> list[Rows]:
    """This rank's batches of an evaluation, in file order: every stamp exactly once, equally many steps on each rank.

    The rows are cut into steps x world runs whose lengths differ by one at most, without padding; a rank gets
    neighbouring runs, so that it reads its own part of the files only. With fewer stamps than steps x world the steps
    are cut down, and a batch may be longer than ``batch_size / world``.

    Raises:
        PlanError: When there are fewer stamps than ranks.
    """
    if len(rows) < share.world:
        raise PlanError(f"{len(rows)} stamps cannot be shared by {share.world} ranks; use fewer devices")
    steps = min(math.ceil(len(rows) / share.batch_size), len(rows) // share.world)
    n_runs = steps * share.world
    edges = np.arange(n_runs + 1) * len(rows) // n_runs
    return [rows[edges[k] : edges[k + 1]] for k in range(share.rank * steps, (share.rank + 1) * steps)]
