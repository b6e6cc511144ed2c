"""Who is a target, who is in the base, and which rows of whom are for what: pure functions of names and arrays.

Orders are drawn by hashing names, not by a generator over positions: they are the same on any machine, and a group that
joins a study leaves the order of the others, so the base models trained before, as it is.
"""

import difflib
import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


class GroupError(ValueError):
    """Groups that cannot be divided as asked, or not without a leak."""


@dataclass(frozen=True)
class Fold:
    """One part of leave-groups-out.

    Attributes:
        number: From 0.
        targets: Groups that are left out, sorted; each group is a target in one fold.
        others: All the others, sorted.
    """

    number: int
    targets: tuple[str, ...]
    others: tuple[str, ...]


def leave_groups_out(groups: Collection[str], n_folds: int | None, seed: int) -> tuple[Fold, ...]:
    """Folds whose sizes differ by one at most.

    Args:
        groups: All groups.
        n_folds: How many; None for one fold a group.
        seed: Of who is left out with whom.

    Raises:
        GroupError: There is one group only, or more folds than groups.
    """
    names = _distinct(groups)
    _refuse_one(names)
    n_folds = len(names) if n_folds is None else n_folds
    if not 2 <= n_folds <= len(names):
        raise GroupError(f"n_folds={n_folds} must be at least 2 and at most the number of groups, {len(names)}")
    order = _drawn(names, ["fold", seed])
    left_out = [tuple(sorted(order[number::n_folds])) for number in range(n_folds)]
    return tuple(
        Fold(number, targets, tuple(name for name in names if name not in targets))
        for number, targets in enumerate(left_out)
    )


def base_groups(
    groups: Collection[str], targets: Collection[str], n_base: int | None, replicate: int, seed: int
) -> tuple[str, ...]:
    """The base groups of a target: the first `n_base`, without the targets, of an order of all groups.

    Each replicate has its own order. Within one, fewer groups are always among more, so that a curve over `n_base`
    differs from point to point by groups that are added, and not by another draw; and all targets that are not among
    the first groups share their base model.

    Args:
        groups: All groups of the data.
        targets: Those that are left out.
        n_base: How many; None for all the others.
        replicate: Number of the order, from 0.
        seed: Of all orders.

    Returns:
        Their names, sorted.

    Raises:
        GroupError: A target is not in the data; no group, or fewer than `n_base`, is left.
    """
    names = _distinct(groups)
    for target in targets:
        _refuse_unknown(target, names)
    if targets:
        _refuse_one(names)
    if n_base is not None and n_base < 1:
        raise GroupError(
            f"n_base={n_base} leaves no base group: ask for at least 1, or use the mode target_only, which needs no "
            "base model"
        )
    order = [name for name in _drawn(names, ["base", seed, replicate]) if name not in set(targets)]
    if not order:
        raise GroupError(
            f"all {len(names)} groups are targets, so that none is left to train a base model on: leave some out of "
            "the targets, or use the mode target_only"
        )
    n_base = len(order) if n_base is None else n_base
    if n_base > len(order):
        raise GroupError(
            f"n_base={n_base}, but {len(order)} groups are left with {', '.join(sorted(targets))} left out: ask for at "
            "most that many"
        )
    return tuple(sorted(order[:n_base]))


def refuse_leaks(bases: Collection[str], targets: Collection[str], groups: Collection[str]) -> None:
    """Refuse base groups, named by hand, that are none, not in the data, or targets.

    Raises:
        GroupError: Naming which.
    """
    if not bases:
        raise GroupError("the set of base groups is empty: name some, or use the mode target_only, which needs none")
    for name in (*bases, *targets):
        _refuse_unknown(name, _distinct(groups))
    if both := sorted(set(bases) & set(targets)):
        raise GroupError(
            f"{', '.join(both)} would be target and base group at once, and the base model would have seen what it is "
            "tested on: take them out of the base groups"
        )


def _drawn(names: Iterable[str], draw: Sequence[str | int]) -> list[str]:
    """All orders are equally likely, to who does not know the hash."""
    return sorted(names, key=lambda name: hashlib.sha256(json.dumps([*draw, name]).encode()).digest())


def _distinct(groups: Collection[str]) -> list[str]:
    return sorted(set(groups))


def _refuse_one(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise GroupError(
            f"the data have one group only ({', '.join(names)}): with it left out nothing is left to train a base "
            "model on; add groups, or use the mode target_only"
        )


def _refuse_unknown(name: str, names: Sequence[str]) -> None:
    if name not in names:
        meant = difflib.get_close_matches(name, names, n=1)
        raise GroupError(
            f"there is no group {name} in the data; {f'did you mean {meant[0]}? ' if meant else ''}they have "
            f"{', '.join(names[:20])}{' ...' if len(names) > 20 else ''}"
        )
