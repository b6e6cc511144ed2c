"""Which rows of a group are for training, validation and test: whole sessions, and never two windows that overlap.

A base model's groups are divided at random by session; a target in time, as a device meets it: what is adapted on comes
first, what is tested on last.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.bases.groups import GroupError
from dark_halo_scope.bases.spec import SplitSpec

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class GroupedRows:
    """Rows of a dataset by group and session.

    Attributes:
        groups: Names, sorted.
        sessions: Names, sorted. A session is what was recorded together, of one group: its name is its own.
        group: Position in `groups`; (N,).
        session: Position in `sessions`; (N,).
        time: Beginning of the row, on one clock for all sessions of a group; (N,).
        duration: Of every row, in the unit of `time`; 0 where rows do not overlap.
    """

    groups: tuple[str, ...]
    sessions: tuple[str, ...]
    group: NDArray[np.int32]
    session: NDArray[np.int32]
    time: NDArray[np.float64]
    duration: float

    @classmethod
    def of(cls, group: ArrayLike, session: ArrayLike, time: ArrayLike, duration: float) -> "GroupedRows":
        """From names and times, one a row.

        Raises:
            GroupError: A time is missing.
        """
        groups, group_of = np.unique(np.asarray(group).astype(str), return_inverse=True)
        sessions, session_of = np.unique(np.asarray(session).astype(str), return_inverse=True)
        times = np.asarray(time, np.float64)
        if unknown := int(np.count_nonzero(~np.isfinite(times))):
            raise GroupError(f"{unknown} rows have no time, so that their order is unknown: leave them out of the data")
        names = tuple(groups.tolist()), tuple(sessions.tolist())
        return cls(*names, group_of.astype(np.int32), session_of.astype(np.int32), times, duration)

    def of_groups(self, names: Collection[str]) -> Rows:
        """Rows of some groups, ascending."""
        codes = [code for code, name in enumerate(self.groups) if name in set(names)]
        return np.flatnonzero(np.isin(self.group, codes))


@dataclass(frozen=True)
class BaseParts:
    """Rows, ascending."""

    train: Rows
    val: Rows


@dataclass(frozen=True)
class TargetParts:
    """Rows, ascending. `train`, `val` and `gap` together are the label budget.

    Attributes:
        train: To adapt on.
        val: To stop by.
        test: Later sessions, the same for every budget.
        gap: Labelled, but left out of training because they overlap in time with a row of `val`.
    """

    train: Rows
    val: Rows
    test: Rows
    gap: Rows


def split_base(values: ArrayLike, rows: Rows, split: SplitSpec) -> BaseParts:
    """Divide the rows of the base groups: values of a column stay whole.

    Args:
        values: Of the column `split.by`, one for each of `rows`.
        rows: Of the base groups, ascending.
        split: The values that come first in an order drawn by its seed are for validation, until they hold its
            fraction of the rows.

    Raises:
        GroupError: There is one value only, which would have to be on both sides.
    """
    if split.val_fraction == 0:
        return BaseParts(rows, rows[:0])
    names, code, counts = np.unique(np.asarray(values).astype(str), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise GroupError(
            f"the base groups have one {split.by} only ({', '.join(names)}), which cannot be divided into training and "
            "validation: add groups, set bases.split_by to a finer column, or bases.val_fraction=0"
        )
    keys = [hashlib.sha256(json.dumps(["val", split.seed, name]).encode()).digest() for name in names.tolist()]
    order = sorted(range(len(names)), key=keys.__getitem__)
    n_val = min(_enough(counts[order], split.val_fraction), len(names) - 1)
    is_val = np.isin(code, order[:n_val])
    return BaseParts(rows[~is_val], rows[is_val])


def split_target(
    rows: GroupedRows,
    target: str,
    *,
    budget: int | None,
    n_val: int,
    test_fraction: float,
    label: ArrayLike | None = None,
) -> TargetParts:
    """Divide a target: its last sessions are for the test, and of those before them the first rows are labelled.

    Args:
        rows: Of the dataset.
        target: Which group.
        budget: Labels that are paid for, those for validation among them; None for all before the test.
        n_val: Labels for validation: the last of the budget.
        test_fraction: Of the target's rows, at least, as whole sessions from the end; one session stays to adapt on.
        label: Class of each row of the dataset, (N,): the budget is then spent evenly on the classes, in time order
            within each; None to take rows as they come in time.

    Raises:
        GroupError: The target cannot be divided so, or not without a leak.
    """
    if not 0 < test_fraction < 1:
        raise GroupError(f"test_fraction={test_fraction} must be more than 0 and less than 1")
    mine = rows.of_groups([target])
    sessions = _in_time_order(rows, mine, target)
    sizes = np.array([np.count_nonzero(rows.session[mine] == code) for code in sessions])
    n_test = min(_enough(sizes[::-1], test_fraction), len(sessions) - 1)
    before = np.isin(rows.session[mine], sessions[:-n_test])
    pool, test = mine[before], mine[~before]
    budget = len(pool) if budget is None else budget
    _refuse_budget(target, budget, n_val, len(pool))
    labelled = _order_of_labelling(rows, pool, label)[:budget]
    val, train = labelled[budget - n_val :], labelled[: budget - n_val]
    overlaps = _overlapping(rows, train, val)
    if overlaps.all():
        raise GroupError(
            f"the {n_val} validation rows of {target} overlap in time with all {len(train)} training rows of a budget "
            f"of {budget} labels: raise the budget, or set finetune.n_val=0"
        )
    return TargetParts(np.sort(train[~overlaps]), np.sort(val), test, np.sort(train[overlaps]))


def refuse_shared_sessions(rows: GroupedRows, bases: Collection[str], targets: Collection[str]) -> None:
    """Refuse a target that was recorded together with a base group.

    Raises:
        GroupError: Naming the sessions.
    """
    of_bases, of_targets = (np.unique(rows.session[rows.of_groups(names)]) for names in (bases, targets))
    if len(shared := np.intersect1d(of_bases, of_targets)):
        names = [rows.sessions[code] for code in shared[:5].tolist()]
        raise GroupError(
            f"{len(shared)} sessions hold rows of a target and of a base group ({', '.join(names)}"
            f"{' ...' if len(shared) > 5 else ''}), so that the base model would have seen what it is tested on: take "
            "those groups out of the base; or, if sessions are only numbered within each group, give them names of "
            "their own (group/session)"
        )


def _enough(sizes: NDArray[np.int64], fraction: float) -> int:
    """How many of the first hold a fraction of all, at least."""
    return int(np.searchsorted(np.cumsum(sizes), fraction * sizes.sum() - 1e-6)) + 1


def _in_time_order(rows: GroupedRows, mine: Rows, target: str) -> NDArray[np.int32]:
    """Sessions of the target by their beginning; refused where there is one only, or where two overlap."""
    codes = np.unique(rows.session[mine])
    spans = [
        (times.min(), times.max(), code) for code in codes for times in [rows.time[mine][rows.session[mine] == code]]
    ]
    if len(spans) < 2:
        raise GroupError(
            f"{target} has {len(spans)} session: adapting and testing take one each, since windows of one session "
            "overlap or are alike; record another, or leave it out of the targets"
        )
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end + rows.duration:
            raise GroupError(
                f"sessions {rows.sessions[first]} and {rows.sessions[second]} of {target} overlap in time (the second "
                f"begins at {start:g}, the first ends at {end + rows.duration:g}), so that a test row could be one "
                "that was trained on: give all sessions of a group one clock, and recordings of the same time one name"
            )
    return np.array([code for _, _, code in spans], np.int32)


def _refuse_budget(target: str, budget: int, n_val: int, n_pool: int) -> None:
    if not 1 <= budget <= n_pool:
        raise GroupError(
            f"a budget of {budget} labels cannot be spent on {target}, which has {n_pool} rows before its test "
            f"sessions: ask for 1 to {n_pool}, or for all of them (null)"
        )
    if not 0 <= n_val < budget:
        raise GroupError(
            f"{n_val} labels of {target} for validation leave none to train on in a budget of {budget}, to which they "
            "count: set finetune.n_val lower, or to 0 to train for a fixed number of steps"
        )


def _order_of_labelling(rows: GroupedRows, pool: Rows, label: ArrayLike | None) -> Rows:
    """In time; with labels, the first of each class, then the second of each ..."""
    pool = pool[np.lexsort((pool, rows.time[pool]))]
    if label is None:
        return pool
    _, code = np.unique(np.asarray(label)[pool], return_inverse=True)
    turn = np.empty(len(pool), np.int64)
    for value in range(code.max() + 1):
        turn[code == value] = np.arange(np.count_nonzero(code == value))
    return pool[np.argsort(turn, kind="stable")]


def _overlapping(rows: GroupedRows, train: Rows, val: Rows) -> NDArray[np.bool_]:
    """Which rows of `train` share a moment with a row of `val`; (n,)."""
    times = np.sort(rows.time[val])
    if not len(times):
        return np.zeros(len(train), bool)
    after = np.searchsorted(times, rows.time[train])
    distance = np.minimum(
        np.abs(times[np.minimum(after, len(times) - 1)] - rows.time[train]),
        np.abs(times[np.maximum(after - 1, 0)] - rows.time[train]),
    )
    return distance < rows.duration
