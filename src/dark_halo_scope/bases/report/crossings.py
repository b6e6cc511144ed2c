"""Where one arm overtakes another, along the label budget or along the number of base groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dark_halo_scope.bases.report.arms import ALONE, BASE, FULL, HEAD, PROBE, TUNED
from dark_halo_scope.bases.report.cells import Cells
from dark_halo_scope.bases.report.statistics import MIN_GROUPS, Floats, GroupBootstrap

BELOW, BEYOND = "below", "beyond"  # of the range that was tried

_FAR = 10.0  # stands for any factor: of a resample that does not cross, only the side is known

_BY_BUDGET = (  # what rises with the target's labels, and what it overtakes
    *((ALONE, other) for other in (BASE, FULL, TUNED, HEAD, PROBE)),
    *((arm, BASE) for arm in (FULL, TUNED, HEAD, PROBE)),
)
_BY_N_BASE = tuple((arm, ALONE) for arm in (BASE, FULL, TUNED, HEAD, PROBE))


def crossings(cells: Cells) -> list[dict[str, Any]]:
    """Every crossing that the design can show; see `_crossing`.

    Along the label budget, for each number of base groups; along the number of base groups, for each budget.
    """
    budgets, n_base = cells.budgets, cells.n_base
    labels = [float(cells.n_labels[budget]) for budget in budgets]
    found = [
        _crossing(cells, arm, other, {"axis": "budget", "n_base": n, "budget": None}, [(n, b) for b in budgets], labels)
        for arm, other in _BY_BUDGET
        for n in cells.n_base_or_none
    ]
    found += [
        _crossing(cells, arm, other, {"axis": "n_base", "n_base": None, "budget": b}, [(n, b) for n in n_base], n_base)
        for arm, other in _BY_N_BASE
        for b in cells.budgets_or_none
    ]
    return [record for record in found if record is not None]


def _crossing(
    cells: Cells, arm: str, other: str, where: dict[str, Any], line: Sequence[tuple[Any, Any]], at: Sequence[float]
) -> dict[str, Any] | None:
    """Where `arm` overtakes `other` along a line, on the groups that both have on all of it.

    Returns:
        ``at``: a position on the axis, or `BELOW` (ahead all along) or `BEYOND` (not ahead at the end). ``interval``:
        both ends likewise; None for fewer than `MIN_GROUPS` groups. ``share_in_range``: of the resamples, that cross
        within the range. None where the arms meet at fewer than two positions, or in no group. Of 1,000 simulated
        sweeps of 6, 12 and 40 groups, the interval held a planted crossing in 94 % each.
    """
    here, there = ([cells.at(mode, *point) for point in line] for mode in (arm, other))
    both = [k for k in range(len(line)) if here[k] and there[k]]
    groups = sorted(set.intersection(*(here[k].keys() & there[k].keys() for k in both))) if both else []
    met = {group for k in both for group in here[k].keys() | there[k].keys()}
    positions = [float(at[k]) for k in both]
    if len(set(positions)) < 2 or not groups:
        return None
    differences = np.array([[here[k][group] - there[k][group] for k in both] for group in groups])
    record: dict[str, Any] = {"arm": arm, "other": other, **where, "range": [positions[0], positions[-1]]}
    record |= {"n_groups": len(groups), "left_out": sorted(met - set(groups))}
    record |= {"at": _told(overtaking(differences.mean(axis=0), positions))}
    if len(groups) < MIN_GROUPS:
        return record | {"interval": None, "share_in_range": None}
    bootstrap = GroupBootstrap(len(groups))
    resampled = overtaking(bootstrap.means(differences), positions)
    ends = bootstrap.interval(np.clip(resampled, positions[0] / _FAR, positions[-1] * _FAR))
    told = [_told(end) for end in np.where(ends < positions[0], -np.inf, np.where(ends > positions[-1], np.inf, ends))]
    return record | {"interval": told, "share_in_range": float(np.isfinite(resampled).mean())}


def overtaking(differences: ArrayLike, positions: Sequence[float]) -> Floats:
    """From where on a difference stays positive up to the end of the range.

    Between the last position where it is not and the next, it is taken as linear in the logarithm of the position.

    Args:
        differences: (..., n_positions).
        positions: Ascending, positive.

    Returns:
        (...) positions; -inf where it is positive everywhere, inf where it is not at the end.
    """
    d, log_at = np.asarray(differences, np.float64), np.log(positions)
    last = d.shape[-1] - 1 - np.argmax(d[..., ::-1] <= 0, axis=-1)  # where it is not positive
    before = np.minimum(last, d.shape[-1] - 2)
    low, high = (np.take_along_axis(d, (before + step)[..., None], -1)[..., 0] for step in (0, 1))
    rise = np.where(high > low, high - low, 1)
    share = np.clip(-low / rise, 0, 1)
    crossing = np.exp(log_at[before] + share * (log_at[before + 1] - log_at[before]))
    crossing = np.where(d[..., -1] <= 0, np.inf, crossing)
    return np.where((d > 0).all(axis=-1), -np.inf, crossing)


def _told(position: Any) -> float | str:
    return float(position) if np.isfinite(position) else BELOW if position < 0 else BEYOND
