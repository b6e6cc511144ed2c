"""Whether ranks share a split as they should, on the row groups of the actual files."""

from dataclasses import dataclass

import numpy as np

from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.plan import EvalBatches, Share, TrainBatches, epoch_order

WORLDS = (1, 2, 4, 8)
_COMPARED_STEPS = 200  # of an epoch, spread over it: every rank works out a whole global batch for each


@dataclass(frozen=True)
class Sharding:
    """What came of sharing a dataset by so many ranks.

    Attributes:
        world: Ranks.
        breaches: What went wrong, a sentence each.
        train_steps: Steps of an epoch, on every rank.
        compared_steps: Those whose parts were compared with the global batch.
        left_over: Train stamps that the epoch leaves for another one.
        evaluated: Validation and test stamps, each read once.
    """

    world: int
    breaches: tuple[str, ...]
    train_steps: int
    compared_steps: int
    left_over: int
    evaluated: int


def share_out(
    index: StampIndex, world: int, *, batch_size: int, eval_batch_size: int, seed: int, lanes: int
) -> Sharding:
    """Plan an epoch and both evaluations for all ranks, without reading a pixel.

    Raises:
        PlanError: When so many ranks cannot share batches of this size.
    """
    split = index.split_rows("train")
    order = epoch_order(split, seed=seed, epoch=0, lanes=lanes)
    ranks = [TrainBatches(len(split), order, Share(batch_size, rank, world)) for rank in range(world)]
    breaches = train_breaches(index, ranks, batch_size)
    evaluated = 0
    for name in ("val", "test"):
        rows = index.rows(name)
        shares = [EvalBatches(index.split_rows(name), Share(eval_batch_size, r, world)) for r in range(world)]
        read = np.concatenate([batches[number] for batches in shares for number in range(len(batches))])
        evaluated += len(read)
        if len({len(batches) for batches in shares}) > 1:
            breaches.append(f"{name}: the ranks take different numbers of steps")
        if not np.array_equal(np.sort(read), rows):
            breaches.append(f"{name}: {len(read)} stamps are read, not each of the {len(rows)} once")
    steps, left_over = len(ranks[0]), len(split) - sum(batches.n_rows for batches in ranks)
    compared = steps if world == 1 else min(steps, _COMPARED_STEPS)
    return Sharding(world, tuple(breaches), steps, compared, left_over, evaluated)


def train_breaches(index: StampIndex, ranks: list[TrainBatches], batch_size: int) -> list[str]:
    """A whole epoch on one rank; on several, whether their parts make up the global batches of one rank."""
    steps = len(ranks[0])
    numbers = range(steps) if len(ranks) == 1 else np.unique(np.linspace(0, steps - 1, _COMPARED_STEPS).astype(int))
    rows = np.concatenate([batches[int(number)] for number in numbers for batches in ranks])
    breaches = []
    if len({len(batches) for batches in ranks}) > 1:
        breaches.append("train: the ranks take different numbers of steps")
    if len(np.unique(rows)) < len(rows):
        breaches.append(f"train: {len(rows) - len(np.unique(rows))} stamps come twice in an epoch")
    if not np.isin(rows, index.rows("train")).all():
        breaches.append("train: stamps of another split, or left-out ones, are read")
    if len(rows) != len(numbers) * batch_size:
        breaches.append(f"train: {len(rows)} stamps in {len(numbers)} batches of {batch_size}")
    return breaches
