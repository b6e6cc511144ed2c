"""Margin over trivial baselines: what one number of a stamp, or a handful, does at the same false-positive rate.

The audit of a dataset leaves ``trivial_scores.parquet``: ``row`` (int64), ``label`` and one column
``baseline_<name>`` (float, higher is more lens-like) for every trivial classifier it trained. A large dataset is
audited on a random sample of its stamps; network and baselines are then compared on those.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.evaluation.comparison import paired_differences
from dark_halo_scope.evaluation.metrics import auroc, ranking_metrics, roc_counts
from dark_halo_scope.evaluation.resampled import comparable_metrics, regions_of

FILE_NAME = "trivial_scores.parquet"
_PREFIX = "baseline_"


class BaselineError(ValueError):
    """The trivial scores are not those of the stamps that were scored."""


def find(audit: Path) -> Path:
    """The trivial scores in the folder of an audit.

    Raises:
        BaselineError: there are none.
    """
    path = audit / FILE_NAME
    if not path.is_file():
        raise BaselineError(f"{audit} holds no {FILE_NAME}: give the folder that halo audit wrote")
    return path


def baseline_margins(
    scores: pa.Table, trivial_scores: Path, region_column: str, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare the network with the strongest trivial baseline, metric by metric.

    The strongest baseline is the one that does best on these very stamps, which favours it. Network and baseline are
    resampled together, region by region, so that the interval of their difference leaves out what they share.

    Args:
        scores: score table of one split.
        trivial_scores: file of the audit.
        region_column: names the region of sky; stamps stand for regions where it is missing.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        ``n_lenses`` and ``n_controls`` that were compared; ``baselines``, the AUROC of each by name; ``margins``, for
        every metric that the sample supports ``metric``, ``baseline`` (name of the strongest), ``network``,
        ``trivial``, ``difference`` and its ``interval`` (None with too few regions).
    """
    scores, columns = _shared(scores, trivial_scores)
    labels = scores["label"].to_numpy()
    counts = {name: roc_counts(values, labels) for name, values in columns.items()}
    network = ranking_metrics(roc_counts(scores["logit"], labels))
    trivial = {name: ranking_metrics(count) for name, count in counts.items()}
    metrics = comparable_metrics(int((labels == 0).sum()))
    strongest = {metric: max((trivial[name][metric], name) for name in trivial)[1] for metric in metrics}
    rivals = {name: columns[name] for name in sorted(set(strongest.values()))}
    differences = paired_differences(
        scores["logit"], rivals, labels, regions_of(scores, region_column), n_resamples, seed
    )
    margins = []
    for metric, name in strongest.items():
        ours, theirs = float(network[metric]), float(trivial[name][metric])
        margin = {"metric": metric, "baseline": name, "network": ours, "trivial": theirs, "difference": ours - theirs}
        margins.append(margin | {"interval": differences[name][metric] if differences else None})
    sample = {"n_lenses": int((labels == 1).sum()), "n_controls": int((labels == 0).sum())}
    return sample | {"baselines": {name: float(auroc(count)) for name, count in counts.items()}, "margins": margins}


def _shared(scores: pa.Table, path: Path) -> tuple[pa.Table, dict[str, NDArray[np.float32]]]:
    """The stamps of `scores` that the audit measured, and the baselines' scores of them (N,) in the same order."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name.startswith(_PREFIX)]
    if not {"row", "label"} <= set(table.column_names) or not names:
        raise BaselineError(f"{path} has no columns `row`, `label` and `{_PREFIX}<name>`: audit the dataset anew")
    position = pc.index_in(scores["row"], value_set=table["row"].combine_chunks())
    shared = scores.filter(pc.is_valid(position))
    aligned = table.take(position.drop_null())
    if not shared.num_rows or not _same_labels(shared, aligned):
        raise BaselineError(
            f"{path} is not of the stamps that were scored: give the audit of the dataset that was scored"
        )
    columns = {name.removeprefix(_PREFIX): aligned[name].cast(pa.float32()).to_numpy() for name in names}
    for name, values in columns.items():
        if bad := int((~np.isfinite(values)).sum()):
            raise BaselineError(f"baseline {name} of {path} is not finite for {bad} stamps: audit the dataset anew")
    return shared, columns


def _same_labels(scores: pa.Table, trivial: pa.Table) -> bool:
    return bool((scores["label"].to_numpy() == trivial["label"].to_numpy()).all())
