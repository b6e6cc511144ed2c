"""Which arm is the better at each point, and whom an arm harms: paired within groups, since groups differ most."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dark_halo_scope.bases.report.arms import PAIRS, REFERENCES
from dark_halo_scope.bases.report.cells import Cells
from dark_halo_scope.bases.report.statistics import (
    ALPHA,
    MIN_GROUPS,
    groups_needed,
    holm,
    mean_interval,
    share_interval,
    sign_flip_p,
    smallest_p,
)

AHEAD, BEHIND, NOT_TOLD = "ahead", "behind", "not told apart"
_N_NAMED = 3


def compare(cells: Cells) -> dict[str, Any]:
    """Every pair of `PAIRS` at every point, on the groups that both arms have there; one family of tests (Holm).

    Returns:
        ``records``: see `_record`; ``p``, ``p_holm`` and ``verdict`` are None where there are fewer than `MIN_GROUPS`
        groups, of which no test is made. ``n_tests`` in the family, ``groups_needed`` for a claim in a family of that
        size, and ``can_claim``: whether any test of it could reach 0.05.
    """
    records = [
        record
        for arm, other in PAIRS
        for n_base, budget in cells.points()
        if (record := _record(cells, arm, other, n_base, budget))
    ]
    tested = [record for record in records if record["p"] is not None]
    for record, p in zip(tested, holm([record["p"] for record in tested]), strict=True):
        record["p_holm"] = p
        sign = AHEAD if record["difference"] > 0 else BEHIND
        record["verdict"] = sign if p < ALPHA else NOT_TOLD
    most = max((record["n_groups"] for record in tested), default=0)
    return {
        "records": records,
        "n_tests": len(tested),
        "groups_needed": groups_needed(max(1, len(tested))),
        "can_claim": bool(tested) and smallest_p(most) * len(tested) < ALPHA,
    }


def _record(cells: Cells, arm: str, other: str, n_base: Any, budget: Any) -> dict[str, Any] | None:
    """`arm` minus `other`; None where one of them has nothing there, or they share no group."""
    here, there = cells.at(arm, n_base, budget), cells.at(other, n_base, budget)
    common = sorted(here.keys() & there.keys())
    if not common:
        return None
    differences = [here[group] - there[group] for group in common]
    return {
        "arm": arm,
        "other": other,
        "n_base": n_base,
        "budget": budget,
        "n_groups": len(common),
        "left_out": sorted(here.keys() ^ there.keys()),
        "difference": float(np.mean(differences)),
        "interval": mean_interval(differences),
        "p": sign_flip_p(differences) if len(common) >= MIN_GROUPS else None,
        "p_holm": None,
        "verdict": None,
    }


def harm(cells: Cells) -> list[dict[str, Any]]:
    """For how many groups each arm is worse than each of `REFERENCES`, at every point.

    A group is harmed where its mean over the repeats is lower, by however little: customising that only shuffles its
    results would harm half of them.
    """
    return [
        _harmed(cells, arm, reference, n_base, budget, groups)
        for reference in REFERENCES
        for arm in cells.modes
        if arm != reference
        for n_base, budget in cells.points()
        if (groups := sorted(cells.at(arm, n_base, budget).keys() & cells.at(reference, n_base, budget).keys()))
    ]


def _harmed(cells: Cells, arm: str, reference: str, n_base: Any, budget: Any, groups: Sequence[str]) -> dict[str, Any]:
    here, there = cells.at(arm, n_base, budget), cells.at(reference, n_base, budget)
    differences = {group: here[group] - there[group] for group in groups}
    harmed = sorted((group for group in groups if differences[group] < 0), key=differences.__getitem__)
    return {
        "arm": arm,
        "reference": reference,
        "n_base": n_base,
        "budget": budget,
        "n_groups": len(groups),
        "n_harmed": len(harmed),
        "share": len(harmed) / len(groups),
        "interval": share_interval(len(harmed), len(groups)),
        "most_harmed": [{"group": group, "difference": differences[group]} for group in harmed[:_N_NAMED]],
        "differences": differences,
    }
