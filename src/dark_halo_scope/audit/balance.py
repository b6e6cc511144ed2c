"""How many stamps there are of each split and class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, Gate, listed
from dark_halo_scope.audit.settings import Limits
from dark_halo_scope.evaluation.intervals import MIN_REGIONS
from dark_halo_scope.stamps.contract import CLASSES, SPLITS

_UNEQUAL_P = 1e-4  # as in the quarantine of a run

Counts = NDArray[np.int64]


def split_records(catalogue: Catalogue) -> list[dict[str, Any]]:
    """What each split holds: stamps in use by class, their fraction of all, lens fraction, regions."""
    counts = catalogue.table(catalogue.used)
    total = max(1, int(counts.sum()))
    records = []
    for s, split in enumerate(SPLITS):
        n_control, n_lens = counts[s].tolist()
        regions = np.unique(catalogue.region[catalogue.used & (catalogue.index.split == s)])
        records.append(
            {
                "split": split,
                "controls": n_control,
                "lenses": n_lens,
                "fraction": (n_control + n_lens) / total,
                "lens_fraction": n_lens / max(1, n_control + n_lens),
                "regions": int(np.count_nonzero(regions >= 0)),
            }
        )
    return records


def split_gate(records: list[dict[str, Any]], limits: Limits) -> Gate:
    """Whether validation and test are large enough to say something."""
    wanting = []
    for record in records[1:]:
        if record["fraction"] < limits.split_fraction:
            wanting.append(f"{record['split']} holds {record['fraction']:.1%} of the stamps")
        if record["controls"] < limits.controls:
            wanting.append(f"{record['split']} has {record['controls']:,} controls")
        if record["regions"] < MIN_REGIONS:
            wanting.append(f"{record['split']} has {record['regions']} regions")
    shares = " / ".join(f"{100 * record['fraction']:.1f}" for record in records)
    return Gate(
        "Size of the splits",
        CONCERN if wanting else PASS,
        f"train / val / test hold {shares} % of the stamps in use" + (f"; {listed(wanting)}" if wanting else ""),
        f"less than {limits.split_fraction:.0%} of the stamps, {limits.controls:,} controls or {MIN_REGIONS} regions "
        "in val or test is a concern",
        "assign more whole regions to it, or read its numbers with their intervals" if wanting else "",
    )


def class_gate(records: list[dict[str, Any]], limits: Limits) -> Gate:
    """Whether each split holds both classes in similar numbers."""
    low, high = limits.lens_fraction
    single = [record["split"] for record in records if 0 in (record["controls"], record["lenses"])]
    uneven = [record["split"] for record in records if not low <= record["lens_fraction"] <= high]
    found = ", ".join(f"{record['lens_fraction']:.1%} of {record['split']}" for record in records)
    return Gate(
        "Class balance",
        FAIL if single else CONCERN if uneven else PASS,
        f"lenses are {found}" + (f"; one class only in {listed(single)}" if single else ""),
        f"a lens fraction outside {low:g} to {high:g} is a concern, a split with one class only fails",
        "assign regions with both classes to each split, or use class weights" if single or uneven else "",
    )


def left_out_gate(catalogue: Catalogue, limits: Limits) -> tuple[Gate, dict[str, Any]]:
    """Whether ``cutout_ok`` leaves out one class more often than the other."""
    counted = catalogue.index.exclusion == 1
    out, used = catalogue.table(counted).sum(axis=0), catalogue.table(catalogue.used).sum(axis=0)
    fractions = out / np.maximum(out + used, 1)
    unequal = abs(fractions[1] - fractions[0]) > limits.missing_difference and is_unequal(out, used)
    gate = Gate(
        "Rows left out by cutout_ok",
        CONCERN if unequal else PASS,
        " and ".join(f"{fractions[k]:.1%} of the {CLASSES[k]} rows" for k in (0, 1)),
        f"a difference above {limits.missing_difference:g} between the classes is a concern",
        "find out why one class fails more often: what is left is selected differently" if unequal else "",
    )
    return gate, {"rows": dict(zip(CLASSES, out.tolist(), strict=True))}


def is_unequal(bad: Counts, good: Counts) -> bool:
    """Whether chance does not make the fractions of bad controls and lenses, (2,) each (Fisher's exact test)."""
    return bool(fisher_exact(np.stack([bad, good])).pvalue < _UNEQUAL_P)
