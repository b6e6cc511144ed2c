"""All that a sweep says: plain values for JSON and page."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dark_halo_scope.bases.report.cells import Cells, choose_metric
from dark_halo_scope.bases.report.comparisons import compare, harm
from dark_halo_scope.bases.report.crossings import crossings
from dark_halo_scope.bases.report.savings import savings
from dark_halo_scope.bases.report.statistics import LEVEL, MIN_GROUPS, N_RESAMPLES, mean_interval
from dark_halo_scope.bases.report.sweep import Asked, Sweep, SweepError


def summarise(sweep: Sweep, store: Path, metric: str | None = None) -> dict[str, Any]:
    """What the page shows.

    Args:
        sweep: As read.
        store: That it used.
        metric: On the target's test part; None: see `choose_metric`.

    Raises:
        SweepError: The metric cannot be reported.
    """
    name = choose_metric(sweep.tunings, metric)
    cells = Cells(sweep.tunings, name)
    if not cells.values:
        raise SweepError(f"{name} is no number in any of the {len(sweep.tunings)} fine-tunings: choose another metric")
    return {
        "sweep": {"folder": str(sweep.folder), "store": str(store)},
        "metric": name,
        "intervals": {"level": LEVEL, "n_resamples": N_RESAMPLES, "min_groups": MIN_GROUPS},
        "jobs": {
            "n": len(sweep.asked),
            "states": sweep.states,
            "not_come_to": sweep.not_come_to,
            "missing": [_told(job) for job in sweep.missing],
            "undefined": [_told(tuning.asked) for tuning in cells.undefined],
        },
        "design": _design(sweep, cells),
        "tested_differently": sweep.tested_differently,
        "thin": cells.thin(),
        "curves": _curves(cells),
        "comparisons": compare(cells),
        "crossings": crossings(cells),
        "harm": harm(cells),
        "savings": savings(sweep.asked, store),
    }


def _told(job: Asked) -> dict[str, Any]:
    return {"name": job.name, "state": job.state, "overrides": list(job.overrides)}


def _design(sweep: Sweep, cells: Cells) -> dict[str, Any]:
    """What was varied, and which groups have all of it."""
    targets: dict[str, set[str]] = {}
    asked = [job.labels for job in sweep.asked if job.labels]
    for tuning in sweep.tunings:
        if tuning.asked.base is not None:
            targets.setdefault(tuning.asked.base, set()).add(tuning.target)
    return {
        "modes": cells.modes,
        "groups": cells.groups,
        "without_result": {
            "groups": sorted({str(labels["target"]) for labels in asked} - set(cells.groups)),
            "modes": sorted({str(labels["mode"]) for labels in asked} - set(cells.modes)),
        },
        "complete_groups": cells.complete_groups,
        "gaps": {group: [asdict(cell) for cell in lacking] for group, lacking in cells.gaps().items()},
        "n_base": cells.n_base,
        "budgets": [{"name": budget, "n_labels": cells.n_labels[budget]} for budget in cells.budgets],
        "repeats": {name: _values(sweep.tunings, name) for name in ("fold", "replicate", "seed")},
        "targets_per_base": max((len(of) for of in targets.values()), default=0),
    }


def _values(tunings: Sequence[Any], label: str) -> list[Any]:
    return sorted({tuning.asked.labels[label] for tuning in tunings} - {None})


def _curves(cells: Cells) -> list[dict[str, Any]]:
    """Mean of every cell over the complete groups, with its interval; nothing where no group is complete."""
    groups = cells.complete_groups
    return [
        {
            "mode": cell.mode,
            "n_base": cell.n_base,
            "budget": cell.budget,
            "mean": sum(of[group] for group in groups) / len(groups),
            "interval": mean_interval([of[group] for group in groups]),
        }
        for cell, of in cells.values.items()
        if groups
    ]
