"""All arms of a matrix as far as their runs are finished: plain values for JSON and page."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dark_halo_scope.evaluation.intervals import LEVEL
from dark_halo_scope.generalisation.arms import REFERENCE, Arm
from dark_halo_scope.generalisation.degradation import TARGET_FPR, Pair, RunScores, degradation
from dark_halo_scope.generalisation.matrix import Matrix
from dark_halo_scope.generalisation.runs import MatrixRun
from dark_halo_scope.generalisation.training import Failure

N_RESAMPLES = 1000


def summarise(
    matrix: Matrix, finished: Sequence[MatrixRun], failures: Sequence[Failure], region_column: str
) -> dict[str, Any]:
    """What the page shows.

    Args:
        matrix: What was planned.
        finished: Its runs.
        failures: Of the last command.
        region_column: Names the region of sky.
    """
    scores = {(run.arm.name, run.seed): RunScores.read(run.name, run.scores) for run in finished}
    seeds = sorted({run.seed for run in finished})
    arms = list(dict.fromkeys(run.arm for run in finished))
    return {
        "data": {"root": matrix.data_root, "fingerprint": matrix.data_fingerprint},
        "overrides": matrix.overrides,
        "target_fpr": TARGET_FPR,
        "intervals": {"level": LEVEL, "column": region_column, "n_resamples": N_RESAMPLES},
        "arms": [_arm(arm, seeds, scores, matrix, region_column) for arm in arms],
        "impossible": [asdict(arm) for arm in matrix.impossible],
        "failed": [asdict(failure) for failure in failures],
        "runs": [
            {
                "arm": run.arm.name,
                "seed": run.seed,
                "folder": str(run.folder),
                "scores_sha256": scores[run.arm.name, run.seed].sha256,
                "threshold": scores[run.arm.name, run.seed].threshold,
            }
            for run in finished
        ],
    }


def _arm(
    arm: Arm, seeds: Sequence[int], scores: dict[tuple[str, int], RunScores], matrix: Matrix, region_column: str
) -> dict[str, Any]:
    """An arm against the reference; the reference against itself, which gives its own numbers on all test stamps."""
    pairs = [
        Pair(seed, scores[REFERENCE, seed], scores[arm.name, seed])
        for seed in seeds
        if (REFERENCE, seed) in scores and (arm.name, seed) in scores
    ]
    record = asdict(arm) | {"left_out": matrix.left_out[arm.name], "degradation": None}
    if pairs:
        record["degradation"] = degradation(arm, pairs, region_column, N_RESAMPLES)
    return record
