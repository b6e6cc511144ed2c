"""What leaving a kind of stamp out costs: the reference against the arm on the test stamps of that kind.

Runs of one seed are a pair. Of every run there are two readings. *At equal rate* the threshold lets the same fraction
of the probe's own controls pass for both, which compares the finders. *As deployed* the threshold is the one that the
run's own validation stamps give for that rate, and those did not hold the kind either: it shows what a user would meet,
the drift of the false-positive rate included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.evaluation.comparison import ScoreFile
from dark_halo_scope.evaluation.fitting import fit_on_validation
from dark_halo_scope.evaluation.intervals import MIN_REGIONS, RegionBootstrap, TooFewRegionsError
from dark_halo_scope.evaluation.metrics import (
    MIN_EXPECTED_FALSE_POSITIVES,
    RocCounts,
    auroc,
    controls_needed,
    fpr_name,
    roc_counts,
    supports_fpr,
    tpr_at_fpr,
)
from dark_halo_scope.evaluation.resampled import regions_of
from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.files import sha256
from dark_halo_scope.generalisation.arms import Arm
from dark_halo_scope.generalisation.verdict import total_interval, verdict
from dark_halo_scope.stamps.condition import Condition

TARGET_FPR = 1e-2
EQUAL_RATE = f"tpr_at_fpr_{fpr_name(TARGET_FPR)}"
AUROC, DEPLOYED_TPR, DEPLOYED_FPR = "auroc", "deployed_tpr", "deployed_fpr"
MEASURES = (EQUAL_RATE, AUROC, DEPLOYED_TPR, DEPLOYED_FPR)
_MIN_LENSES = 10

Floats = NDArray[np.float64]


class DegradationError(ValueError):
    """Score files that cannot be compared."""


@dataclass(frozen=True)
class RunScores:
    """The score file of one run: its test stamps, and the threshold that its validation stamps give."""

    file: ScoreFile
    sha256: str
    threshold: float | None
    no_threshold: str | None  # why there is none

    @classmethod
    def read(cls, name: str, path: Path) -> "RunScores":
        """Read it."""
        table, _ = read_scores(path)
        _, thresholds = fit_on_validation(table, str(path))
        (record,) = [record for record in thresholds if record["target_fpr"] == TARGET_FPR]
        return cls(ScoreFile.read(name, path, "test"), sha256(path), record["logit"], record["reason"])


@dataclass(frozen=True)
class Pair:
    """Two runs of one seed: the reference, and one that was not shown a kind of stamp."""

    seed: int
    reference: RunScores
    arm: RunScores


@dataclass(frozen=True)
class _Probe:
    """Test stamps of the kind that was left out."""

    chosen: NDArray[np.bool_]  # of all test stamps
    is_lens: NDArray[np.bool_]
    regions: NDArray[Any]

    @property
    def n_controls(self) -> int:
        return int((~self.is_lens).sum())


def degradation(
    arm: Arm, pairs: Sequence[Pair], region_column: str, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Each of `MEASURES` for reference and arm, their difference and how sure it is.

    Args:
        arm: What was left out.
        pairs: One or more, with the same test stamps.
        region_column: Names the region of sky.
        n_resamples: Of the region bootstrap. All runs see the same resampled regions.
        seed: Of the bootstrap.

    Returns:
        ``probe``: how many stamps stand behind the numbers. ``measures``: by name, see `_measure`. ``unsupported``:
        the others, each with its reason. ``no_intervals``: why there are none, or None.

    Raises:
        DegradationError: The runs were not tested on the same stamps.
    """
    _check_same_stamps(pairs)
    table = pairs[0].reference.file.table
    probe = _probe(arm, table, region_column)
    counts = {
        "n_lenses": int(probe.is_lens.sum()),
        "n_controls": probe.n_controls,
        "n_regions": len(np.unique(probe.regions)),
    }
    record: dict[str, Any] = {"probe": counts, "seeds": [pair.seed for pair in pairs], "measures": {}}
    record |= {"no_intervals": None, "unsupported": _unsupported(probe, pairs)}
    supported = [name for name in MEASURES if name not in record["unsupported"]]
    if not supported:
        return record
    sides = [[getattr(pair, side) for pair in pairs] for side in ("reference", "arm")]
    values = [[_values(run, probe) for run in runs] for runs in sides]
    try:
        bootstraps = [[_Resampled(run, probe, n_resamples, seed) for run in runs] for runs in sides]
    except TooFewRegionsError:
        bootstraps = None
        record["no_intervals"] = f"{counts['n_regions']} regions; an interval needs {MIN_REGIONS}"
    for name in supported:
        by_seed = np.array([[of_run[name] for of_run in of_side] for of_side in values])  # (2, seeds)
        resampled = (
            np.array([[run.statistics[name] for run in of_side] for of_side in bootstraps]) if bootstraps else None
        )
        interval = bootstraps[0][0].interval if bootstraps else None
        record["measures"][name] = _measure(by_seed, resampled, interval)
    return record


def _measure(by_seed: Floats, resampled: Floats | None, interval: Any) -> dict[str, Any]:
    """Means over the seeds with their intervals, and the difference of the paired runs.

    Args:
        by_seed: (2, seeds) values of reference and arm.
        resampled: (2, seeds, resamples) the same on resampled regions.
        interval: `RegionBootstrap.interval`.
    """
    differences = by_seed[1] - by_seed[0]
    ends: dict[str, list[float] | None] = dict.fromkeys(("reference", "left_out", "difference"))
    if resampled is not None:
        reference, left_out = resampled.mean(axis=1)
        ends = {
            "reference": interval(reference).tolist(),
            "left_out": interval(left_out).tolist(),
            "difference": interval(left_out - reference).tolist(),
        }
    mean, std, total = float(differences.mean()), None, None
    if len(differences) > 1:
        std = float(differences.std(ddof=1))
        total = total_interval(mean, ends["difference"], std, len(differences)) if ends["difference"] else None
    return {
        "reference": {"mean": float(by_seed[0].mean()), "interval": ends["reference"], "seeds": by_seed[0].tolist()},
        "left_out": {"mean": float(by_seed[1].mean()), "interval": ends["left_out"], "seeds": by_seed[1].tolist()},
        "difference": {
            "mean": mean,
            "interval": ends["difference"],
            "std_over_seeds": std,
            "total_interval": total,
        },
        "verdict": verdict(total),
    }


def _probe(arm: Arm, test: pa.Table, region_column: str) -> _Probe:
    is_lens = test["label"].to_numpy() == 1
    chosen = np.ones(test.num_rows, bool) if arm.leave_out is None else Condition.parse(arm.leave_out).holds(test)
    if not arm.of_controls:
        chosen = chosen | ~is_lens
    return _Probe(chosen, is_lens[chosen], regions_of(test, region_column)[chosen])


def _unsupported(probe: _Probe, pairs: Sequence[Pair]) -> dict[str, str]:
    """What these stamps cannot say, each with the reason."""
    n_lenses, n_controls = int(probe.is_lens.sum()), probe.n_controls
    if n_lenses < _MIN_LENSES or n_controls < _MIN_LENSES:
        reason = f"{n_lenses} lenses and {n_controls} controls of the kind in the test split; {_MIN_LENSES} are needed"
        return dict.fromkeys(MEASURES, reason)
    reasons = {}
    if not supports_fpr(TARGET_FPR, n_controls):
        reasons[EQUAL_RATE] = (
            f"{n_controls} controls of the kind in the test split; {controls_needed(TARGET_FPR)} are needed for "
            f"{MIN_EXPECTED_FALSE_POSITIVES} expected false positives"
        )
    without = [run.no_threshold for pair in pairs for run in (pair.reference, pair.arm) if run.no_threshold]
    if without:
        reasons |= dict.fromkeys((DEPLOYED_TPR, DEPLOYED_FPR), without[0])
    return reasons


def _values(run: RunScores, probe: _Probe) -> dict[str, float]:
    logits = run.file.table["logit"].to_numpy()[probe.chosen]
    values = {name: float(value) for name, value in _ranking(roc_counts(logits, probe.is_lens)).items()}
    if run.threshold is not None:
        passes = logits >= np.float32(run.threshold)
        values[DEPLOYED_TPR] = float(passes[probe.is_lens].mean())
        values[DEPLOYED_FPR] = float(passes[~probe.is_lens].mean())
    return values


def _ranking(counts: RocCounts) -> dict[str, Any]:
    return {AUROC: auroc(counts), EQUAL_RATE: tpr_at_fpr(counts, TARGET_FPR)}


class _Resampled:
    """The values of one run on resampled regions, which depend on seed, regions and labels only.

    Attributes:
        statistics: (n_resamples,) by measure.
        interval: Its ends: see `RegionBootstrap.interval`.
    """

    def __init__(self, run: RunScores, probe: _Probe, n_resamples: int, seed: int) -> None:
        logits = run.file.table["logit"].to_numpy()[probe.chosen]
        bootstrap = RegionBootstrap(logits, probe.is_lens, probe.regions, n_resamples, seed)
        self.interval = bootstrap.interval
        self.statistics: Mapping[str, Floats] = bootstrap.roc_statistics(_ranking)
        if run.threshold is not None:
            passes = logits >= np.float32(run.threshold)
            self.statistics = {
                **self.statistics,
                DEPLOYED_TPR: bootstrap.mean(passes & probe.is_lens) / bootstrap.mean(probe.is_lens),
                DEPLOYED_FPR: bootstrap.mean(passes & ~probe.is_lens) / bootstrap.mean(~probe.is_lens),
            }


def _check_same_stamps(pairs: Sequence[Pair]) -> None:
    """Leaving out changes the fingerprint of what a run saw, so that the stamps themselves are compared."""
    first = pairs[0].reference.file
    for pair in pairs:
        for run in (pair.reference, pair.arm):
            for column in ("row", "label"):
                if not run.file.table[column].equals(first.table[column]):
                    raise DegradationError(
                        f"{run.file.path} and {first.path} were not tested on the same stamps: the data have changed, "
                        "or stamps of one run were quarantined; remove the folder of the run to train it again"
                    )
