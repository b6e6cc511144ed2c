"""The metadata columns: which of them could tell the classes apart, and how they are distributed by class and split.

All rows in use are looked at. Columns that say what was injected are answers, not inputs: nothing of the kind is known
of a real galaxy. They are told by what controls hold in them: nothing, or one value that hardly a lens has.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, Gate, listed, rule_above, verdict_above, worst
from dark_halo_scope.audit.settings import Limits
from dark_halo_scope.evaluation.metrics import auroc, roc_counts
from dark_halo_scope.stamps.contract import CLASSES, PIXEL_COLUMNS, SPLITS
from dark_halo_scope.stamps.store.layout import added_columns

INPUT, ANSWER, IDENTIFIER, CONSTANT = "input", "answer", "identifier", "constant"
_OBSERVED = ("psf_fwhm_used_r", "bad_pixel_frac", "wise_brightmask_frac")  # of the contract: inputs whatever they hold
_PLACES = ("ra", "dec")  # splits differ in them by construction
_BYTES_AT_ONCE = 512 << 20
_ROWS_FOR_ROLES = 200_000
_QUANTILES = (0.16, 0.5, 0.84)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metadata:
    """What the metadata hold.

    Attributes:
        roles: ``input``, ``answer``, ``identifier`` or ``constant`` by numeric column.
        distributions: A record for each input: see `_distribution`.
    """

    roles: dict[str, str]
    distributions: list[dict[str, Any]]

    @property
    def inputs(self) -> list[str]:
        """Columns that a trivial classifier may use."""
        return [name for name, role in self.roles.items() if role == INPUT]


def read_metadata(catalogue: Catalogue) -> Metadata:
    """Look at every numeric column, a few at a time so that memory stays bounded."""
    rows = np.flatnonzero(catalogue.used)
    names = _numeric_columns(catalogue)
    roles: dict[str, str] = {}
    distributions = []
    at_once = max(1, _BYTES_AT_ONCE // (8 * max(1, len(rows))))
    for start in range(0, len(names), at_once):
        some = names[start : start + at_once]
        for name, values in read_columns(catalogue, rows, some).items():
            roles[name] = _role(catalogue, name, values, catalogue.index.label[rows])
            if roles[name] == INPUT:
                distributions.append(_distribution(catalogue, rows, name, values))
    return Metadata(roles, distributions)


def read_columns(catalogue: Catalogue, rows: NDArray[np.int64], names: list[str]) -> dict[str, Floats]:
    """Columns of ``rows`` as float64, NaN where they are null or infinite."""
    table = catalogue.index.metadata(rows, names)
    columns = {name: table[name].cast(pa.float64(), safe=False).to_numpy() for name in names}
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in columns.items()}


def _numeric_columns(catalogue: Catalogue) -> list[str]:
    """Names of the columns that are numbers wherever they occur, without what a store measured on the pixels."""
    of_pixels = {*PIXEL_COLUMNS, *(column.name for column in added_columns("float16"))}
    kinds: dict[str, bool] = {}
    files = catalogue.index.files
    for number in range(len(files.names)):
        for column in files.parquet(number).schema_arrow:
            numeric = pat.is_integer(column.type) or pat.is_floating(column.type) or pat.is_null(column.type)
            kinds[column.name] = kinds.get(column.name, True) and numeric
    return [name for name, numeric in kinds.items() if numeric and name not in of_pixels]


def _role(catalogue: Catalogue, name: str, values: Floats, label: NDArray[np.int8]) -> str:
    if name in _OBSERVED:
        return INPUT
    if name in ("cutout_ok", catalogue.region_column, catalogue.host_column):
        return IDENTIFIER
    step = max(1, len(values) // _ROWS_FOR_ROLES)
    known = np.isfinite(values)
    control, lens = values[known & (label == 0)], values[known & (label == 1)]
    if not known.any() or values[known].min() == values[known].max():
        return CONSTANT
    if not len(control) or (control.min() == control.max() and np.mean(lens == control[0]) < 0.01):
        return ANSWER
    some = values[known][::step]
    if np.all(some == np.round(some)) and len(np.unique(some)) > 0.5 * len(some):
        return IDENTIFIER
    return INPUT


def _distribution(catalogue: Catalogue, rows: NDArray[np.int64], name: str, values: Floats) -> dict[str, Any]:
    """Quantiles by split and class, and how far the classes and the splits are apart.

    ``ks`` is the Kolmogorov-Smirnov distance, ``by_chance`` the one that unrelated samples of this size exceed once in
    a thousand; between splits, whole regions count as one.
    """
    label, split = catalogue.index.label[rows], catalogue.index.split[rows]
    known = np.isfinite(values)
    groups = []
    for s, split_name in enumerate(SPLITS):
        for c, class_name in enumerate(CLASSES):
            here = (split == s) & (label == c)
            held = values[here & known]
            groups.append(
                {
                    "split": split_name,
                    "class": class_name,
                    "n": int(here.sum()),
                    "missing": float(1 - len(held) / here.sum()) if here.any() else None,
                    "quantiles": np.quantile(held, _QUANTILES).tolist() if len(held) else None,
                }
            )
    between = {}
    for other in (1, 2):
        pair = known & ((split == 0) | (split == other))
        regions = [_n_regions(catalogue, rows[known & (split == s)]) for s in (0, other)]
        between[SPLITS[other]] = _distance(values[pair], split[pair] == other, regions)
    missing = [float(np.mean(~known[label == c])) if (label == c).any() else 0.0 for c in (0, 1)]
    sizes = [int((known & (label == c)).sum()) for c in (0, 1)]
    return {
        "column": name,
        "groups": groups,
        "between_classes": _distance(values[known], label[known] == 1, sizes),
        "between_splits": between,
        "missing": dict(zip(CLASSES, missing, strict=True)),
    }


def _n_regions(catalogue: Catalogue, rows: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.bincount(catalogue.region[rows] + 1)))


def _distance(values: Floats, is_second: NDArray[np.bool_], sizes: list[int]) -> dict[str, float] | None:
    """AUROC and Kolmogorov-Smirnov distance of two samples; None where one is empty."""
    if is_second.all() or not is_second.any():
        return None
    counts = roc_counts(values, is_second)
    ks = float(np.abs(counts.tpr - counts.fpr).max())
    return {"auroc": float(auroc(counts)), "ks": ks, "by_chance": float(1.95 * np.sqrt(1 / sizes[0] + 1 / sizes[1]))}


def class_distance_gate(metadata: Metadata, limits: Limits) -> Gate:
    """Whether seeing, depth, quality, magnitudes ... are distributed alike in both classes."""
    shifted = []
    for record in metadata.distributions:
        distance = record["between_classes"]
        if distance and distance["ks"] > distance["by_chance"]:
            shifted.append((distance["ks"], record["column"]))
    shifted.sort(reverse=True)
    verdict = worst([PASS, *(verdict_above(ks, limits.class_distance) for ks, _ in shifted)])
    found = listed(
        [f"{column} ({ks:.2f})" for ks, column in shifted if verdict_above(ks, limits.class_distance) != PASS]
    )
    return Gate(
        "Metadata by class",
        verdict,
        f"differently distributed in lenses and controls: {found}"
        if found
        else f"{len(metadata.distributions)} columns, none distributed differently in lenses and controls",
        rule_above("a Kolmogorov-Smirnov distance beyond chance and", limits.class_distance),
        "draw controls from the same sky and hosts as lenses, or weight them to match" if verdict != PASS else "",
    )


def split_distance_gate(metadata: Metadata, limits: Limits) -> Gate:
    """Whether validation and test show the same sky as train."""
    shifted = [
        f"{record['column']} in {split} ({distance['ks']:.2f})"
        for record in metadata.distributions
        for split, distance in record["between_splits"].items()
        if record["column"] not in _PLACES
        and distance
        and distance["ks"] > max(limits.split_distance, distance["by_chance"])
    ]
    return Gate(
        "Metadata by split",
        CONCERN if shifted else PASS,
        f"differently distributed than in train: {listed(shifted)}" if shifted else "val and test are like train",
        f"a Kolmogorov-Smirnov distance from train beyond chance and above {limits.split_distance:g} is a concern",
        "the numbers of that split hold for its own sky; assign regions at random" if shifted else "",
    )


def missing_gate(metadata: Metadata, limits: Limits) -> Gate:
    """Whether a column lacks values in one class more often than in the other."""
    unequal = [
        "{column} ({missing[control]:.1%} of controls, {missing[lens]:.1%} of lenses)".format(**record)
        for record in metadata.distributions
        if abs(record["missing"]["control"] - record["missing"]["lens"]) > limits.missing_difference
    ]
    return Gate(
        "Missing metadata by class",
        FAIL if any(name.startswith(_OBSERVED) for name in unequal) else CONCERN if unequal else PASS,
        f"unequally missing: {listed(unequal)}"
        if unequal
        else "no column lacks values in one class more than in the other",
        f"a difference above {limits.missing_difference:g} is a concern, in {', '.join(_OBSERVED)} it fails",
        "find out why: the classes were selected or measured differently" if unequal else "",
    )
