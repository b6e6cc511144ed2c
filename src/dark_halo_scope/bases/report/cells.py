"""One number a group: every arm at every number of base groups and every label budget, repeats averaged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, median
from typing import Any

from dark_halo_scope.bases.report.arms import ARMS, BASE
from dark_halo_scope.bases.report.sweep import SweepError, Tuning

PREFERRED = ("macro_f1", "auroc", "accuracy")  # what is reported if nobody says
LESS_IS_BETTER = ("loss", "nll", "brier", "ece")

Budget = str | int | float  # as the sweep calls it


@dataclass(frozen=True)
class Cell:
    """An arm at a point; None where the arm does not depend on it."""

    mode: str
    n_base: int | None
    budget: Budget | None

    @classmethod
    def of(cls, mode: str, n_base: int | None, budget: Budget | None) -> "Cell":
        """The cell of an arm at a point of the design."""
        arm = ARMS[mode]
        return cls(mode, n_base if arm.has_base else None, budget if arm.has_labels else None)


class Cells:
    """The results of a sweep by cell and group.

    The base alone is what fine-tunings found it to be before they trained, one number a base model; the mode
    `base_only` does nothing else.

    Args:
        tunings: Of the sweep.
        metric: Which number; of it, more is better.

    Attributes:
        values: Mean over the repeats (folds, replicates, seeds), by cell and group.
        n_repeats: Behind each of them.
        n_base: Numbers of base groups in the design, ascending.
        budgets: Label budgets as the sweep calls them, by the labels they are.
        n_labels: Labels of the target that each budget is, those for validation among them: median over the
            fine-tunings.
        undefined: Fine-tunings whose metric is no number.
    """

    def __init__(self, tunings: Sequence[Tuning], metric: str) -> None:
        by_cell: dict[Cell, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        labels: dict[Budget, list[int]] = defaultdict(list)
        self.undefined: list[Tuning] = []
        for tuning in tunings:
            job, reached = tuning.asked, tuning.reached
            cell = Cell.of(tuning.mode, job.labels["n_base"], job.budget)
            if (before := reached.base_metrics.get(metric)) is not None:
                by_cell[Cell(BASE, cell.n_base, None)][tuning.target][str(job.base)] = before
            if cell.budget is not None:
                labels[cell.budget].append(reached.n_labels)
            if (value := reached.metrics[metric]) is None:
                self.undefined.append(tuning)
            elif tuning.mode != BASE:  # a job asked for at points that do not concern it is one fine-tuning
                by_cell[cell][tuning.target][str(job.key)] = value
        self.values = {
            cell: {g: fmean(of.values()) for g, of in sorted(groups.items())} for cell, groups in by_cell.items()
        }
        self.n_repeats = {cell: {g: len(of) for g, of in groups.items()} for cell, groups in by_cell.items()}
        self.n_labels = {budget: int(median(of)) for budget, of in labels.items()}
        self.budgets = sorted(self.n_labels, key=lambda budget: (self.n_labels[budget], str(budget)))
        self.n_base = sorted({cell.n_base for cell in self.values if cell.n_base is not None})

    @property
    def modes(self) -> list[str]:
        """Arms that the sweep has, in the order of the report."""
        return [mode for mode in ARMS if any(cell.mode == mode for cell in self.values)]

    @property
    def groups(self) -> list[str]:
        """Every group with any number."""
        return sorted({group for of_cell in self.values.values() for group in of_cell})

    @property
    def complete_groups(self) -> list[str]:
        """Groups with a number in every cell, so that curves over them compare like with like."""
        return [group for group in self.groups if all(group in of_cell for of_cell in self.values.values())]

    def at(self, mode: str, n_base: int | None, budget: Budget | None) -> dict[str, float]:
        """By group; empty where the arm has nothing at this point."""
        return self.values.get(Cell.of(mode, n_base, budget), {})

    def points(self) -> list[tuple[int | None, Budget | None]]:
        """All points of the design: numbers of base groups by label budgets; None where no arm has any."""
        return list(product(self.n_base_or_none, self.budgets_or_none))

    @property
    def n_base_or_none(self) -> list[int | None]:
        """Where the other axis may be gone along: numbers of base groups, or None where no arm has a base."""
        return [*self.n_base] or [None]

    @property
    def budgets_or_none(self) -> list[Budget | None]:
        """Label budgets, or None where no arm has labels."""
        return [*self.budgets] or [None]

    def gaps(self) -> dict[str, list[Cell]]:
        """What each incomplete group lacks."""
        complete = set(self.complete_groups)
        return {g: [cell for cell, of in self.values.items() if g not in of] for g in self.groups if g not in complete}

    def thin(self) -> list[dict[str, Any]]:
        """Where a group's number rests on fewer repeats than that of other groups in the same cell."""
        return [
            {
                "mode": cell.mode,
                "n_base": cell.n_base,
                "budget": cell.budget,
                "group": g,
                "n": n,
                "of": max(of.values()),
            }
            for cell, of in self.n_repeats.items()
            for g, n in sorted(of.items())
            if n < max(of.values())
        ]


def choose_metric(tunings: Sequence[Tuning], metric: str | None) -> str:
    """The metric to report: the one asked for, or the first of `PREFERRED` that all fine-tunings have.

    Raises:
        SweepError: Not all fine-tunings have it, or less of it is better.
    """
    if metric and metric.endswith(LESS_IS_BETTER):
        raise SweepError(f"of {metric}, less is better, and the report is of what arms reach: choose another metric")
    common = set.intersection(*(set(tuning.reached.metrics) for tuning in tunings))
    candidates = [metric] if metric else PREFERRED
    for name in candidates:
        if name in common:
            return name
    known = ", ".join(sorted(common)) or "none"
    raise SweepError(f"not all fine-tunings have the metric {' or '.join(candidates)}; all of them have: {known}")
