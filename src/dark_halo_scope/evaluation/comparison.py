"""Several score files of the same stamps: which finder is better, by how much, and how sure is that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dark_halo_scope.evaluation.intervals import LEVEL, RegionBootstrap, TooFewRegionsError
from dark_halo_scope.evaluation.metrics import ranking_metrics, roc_counts
from dark_halo_scope.evaluation.resampled import comparable_metrics, regions_of, unsupported_metrics
from dark_halo_scope.evaluation.scores import labelled_splits, read_scores
from dark_halo_scope.files import sha256


class ComparisonError(ValueError):
    """Score files that do not speak of the same stamps."""


@dataclass(frozen=True)
class ScoreFile:
    """One split of a score file, in the order of its rows."""

    name: str
    path: Path
    table: pa.Table
    data_fingerprint: str | None

    @classmethod
    def read(cls, name: str, path: Path, split: str) -> "ScoreFile":
        """Read the stamps of one split.

        Raises:
            ComparisonError: the file holds none with labels.
        """
        table, origin = read_scores(path)
        splits = labelled_splits(table, str(path))
        if split not in splits:
            held = ", ".join(splits) or "none"
            raise ComparisonError(
                f"{path} holds no labelled stamp of split {split!r} (labelled splits: {held}): give --split"
            )
        return cls(name, path, splits[split].sort_by("row"), origin.get("data_fingerprint"))


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: the file's name, or its folder where names agree.

    Raises:
        ComparisonError: a file is given twice.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise ComparisonError("the same score file is given more than once: name each file once")
    parts = [(*path.parts[:-1], path.stem) for path in resolved]
    while len(parts) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def paired_differences(
    logits: ArrayLike,
    rivals: Mapping[str, ArrayLike],
    labels: ArrayLike,
    regions: ArrayLike,
    n_resamples: int,
    seed: int,
) -> dict[str, dict[str, list[float]]]:
    """Intervals of `logits` minus each rival for every ranking metric, from the same resampled regions.

    Args:
        logits: (N,) scores of the finder.
        rivals: (N,) scores of others on the same stamps, by name.
        labels: (N,) 1 for a lens.
        regions: (N,) the region of each stamp.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        By rival and metric both ends at 95 %; empty where there are too few regions.
    """
    try:
        bootstrap = RegionBootstrap(logits, labels, regions, n_resamples, seed)
    except TooFewRegionsError:
        return {}
    ours = bootstrap.roc_statistics(ranking_metrics)
    intervals = {}
    for name, scores in rivals.items():
        # the resampled regions depend on seed, regions and labels only: they are the same for all
        theirs = RegionBootstrap(scores, labels, regions, n_resamples, seed).roc_statistics(ranking_metrics)
        intervals[name] = {metric: bootstrap.interval(ours[metric] - theirs[metric]).tolist() for metric in ours}
    return intervals


def compare(
    files: Sequence[ScoreFile], region_column: str, repeats: bool = False, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Metrics of every file, and the difference of every other one to the first.

    Args:
        files: two or more, of the same stamps.
        region_column: names the region of sky; stamps stand for regions where it is missing.
        repeats: the files differ in nothing but the training seed; their mean and scatter are given too.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ComparisonError: the files hold different stamps or labels.
    """
    _check_same_stamps(files)
    first = files[0].table
    labels, regions = first["label"].to_numpy(), regions_of(first, region_column)
    n_controls = int((labels == 0).sum())
    metrics = comparable_metrics(n_controls)
    values = {file.name: ranking_metrics(roc_counts(file.table["logit"], labels)) for file in files}
    others = {file.name: file.table["logit"].to_numpy() for file in files[1:]}
    reference = first["logit"].to_numpy()
    first_minus_other = paired_differences(reference, others, labels, regions, n_resamples, seed)
    return {
        "files": [{"name": f.name, "path": str(f.path), "sha256": sha256(f.path)} for f in files],
        "sample": {
            "n_lenses": int((labels == 1).sum()),
            "n_controls": n_controls,
            "n_regions": len(np.unique(regions)) if region_column in first.column_names else None,
        },
        "intervals": {"level": LEVEL, "column": region_column, "n_resamples": n_resamples, "seed": seed},
        "refused": None if first_minus_other else "too few regions for intervals: compare on more of the sky",
        "unsupported": unsupported_metrics(n_controls),
        "metrics": {m: {name: float(v[m]) for name, v in values.items()} for m in metrics},
        "differences": [
            _difference(name, metric, values, files[0].name, first_minus_other.get(name, {}).get(metric))
            for metric in metrics
            for name in others
        ],
        "repeats": {m: _scatter([float(v[m]) for v in values.values()]) for m in metrics} if repeats else None,
    }


def _difference(
    name: str, metric: str, values: Mapping[str, Mapping[str, Any]], reference: str, ends: Sequence[float] | None
) -> dict[str, Any]:
    interval = [-ends[1], -ends[0]] if ends is not None else None
    difference = float(values[name][metric] - values[reference][metric])
    verdict = None
    if interval is not None:
        verdict = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "not told apart"
    return {"metric": metric, "name": name, "difference": difference, "interval": interval, "verdict": verdict}


def _scatter(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation over repeats."""
    sample: NDArray[np.float64] = np.array(values)
    return {"mean": float(sample.mean()), "std": float(sample.std(ddof=1)), "n": sample.size}


def _check_same_stamps(files: Sequence[ScoreFile]) -> None:
    first = files[0]
    rows = first.table["row"].to_numpy()
    for other in files[1:]:
        theirs = other.table["row"].to_numpy()
        shared = np.intersect1d(rows, theirs, assume_unique=True).size
        if not shared == rows.size == theirs.size:
            raise ComparisonError(
                f"{first.path} and {other.path} hold different stamps ({rows.size} and {theirs.size}, {shared} of them "
                "in both): score the same dataset with every checkpoint"
            )
        unlike = int((first.table["label"].to_numpy() != other.table["label"].to_numpy()).sum())
        fingerprints = {first.data_fingerprint, other.data_fingerprint} - {None}
        if unlike or len(fingerprints) > 1:
            raise ComparisonError(
                f"{first.path} and {other.path} were scored on different datasets ({unlike} of {rows.size} rows are "
                f"labelled differently; fingerprints {_short(first)} and {_short(other)}): score the same dataset"
            )


def _short(file: ScoreFile) -> str:
    return file.data_fingerprint[:12] if file.data_fingerprint else "unknown"
