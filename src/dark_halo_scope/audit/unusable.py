"""Stamps that lack a band, have NaN pixels or cannot be read, and whether they are those of one class."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.audit.balance import is_unequal
from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, Gate, listed
from dark_halo_scope.audit.sample import Sample
from dark_halo_scope.audit.settings import Limits
from dark_halo_scope.stamps.contract import CLASSES, SPLITS
from dark_halo_scope.stamps.decoder import QUARANTINED, REPAIRED

_Fault = tuple[str, str, str, str]  # action, reason, split, class


def unusable_gate(catalogue: Catalogue, sample: Sample, limits: Limits) -> tuple[Gate, dict[str, Any]]:
    """Whether unusable or repaired stamps are many, or more of one class than of the other.

    Of a training store, all raw stamps count, as they were met when it was made.
    """
    faults, n_read = _of_store(catalogue) if catalogue.index.store else _of_sample(catalogue, sample)
    n_bad = sum(n for (action, *_), n in faults.items() if action == QUARANTINED)
    n_filled = sum(n for (action, *_), n in faults.items() if action == REPAIRED)
    told, unequal = [], []
    for action, reason in sorted({fault[:2] for fault in faults}):
        of_class = np.array(
            [sum(n for f, n in faults.items() if f[:2] + f[3:] == (action, reason, c)) for c in CLASSES]
        )
        told.append(f"{reason} {of_class.sum():,}")
        if is_unequal(of_class, n_read - of_class):
            unequal.append(f"{reason} ({action}) in {of_class[0]:,} controls and {of_class[1]:,} lenses")
    too_many = n_bad > limits.unusable_fraction * n_read.sum()
    verdict = FAIL if unequal else CONCERN if too_many else PASS
    found = f"{n_bad:,} of {n_read.sum():,} stamps read cannot be used, {n_filled:,} have pixels to fill"
    found += f": {listed(told)}" if told else ""
    found += f"; unequal between the classes: {listed(unequal)}" if unequal else ""
    gate = Gate(
        "Missing bands, NaN pixels, unreadable stamps",
        verdict,
        found,
        f"more than {limits.unusable_fraction:.1%} unusable is a concern, a difference between the classes that chance "
        "does not make (Fisher's exact test, p < 1e-4) fails",
        "repair or leave out these stamps in both classes alike" if verdict != PASS else "",
    )
    names = ("action", "reason", "split", "class")
    records = [dict(zip(names, fault, strict=True)) | {"stamps": n} for fault, n in sorted(faults.items())]
    return gate, {"read": dict(zip(CLASSES, n_read.tolist(), strict=True)), "faults": records}


def _of_sample(catalogue: Catalogue, sample: Sample) -> tuple[Counter[_Fault], NDArray[np.int64]]:
    """Faults of the stamps that were read, and how many of each class these are."""
    index = catalogue.index
    faults = Counter(
        (fault.action, fault.reason, SPLITS[index.split[fault.row]], CLASSES[index.label[fault.row]])
        for fault in sample.faults
    )
    return faults, np.bincount(index.label[sample.rows], minlength=len(CLASSES))


def _of_store(catalogue: Catalogue) -> tuple[Counter[_Fault], NDArray[np.int64]]:
    """Faults that were met when a store was made, and how many raw rows of each class were read for it."""
    assert catalogue.index.store is not None
    kept = catalogue.index.store.faults
    faults = Counter(
        {
            (action, reason, split, name): n
            for action in (QUARANTINED, REPAIRED)
            for reason, by_split in kept[action].items()
            for split, by_class in by_split.items()
            for name, n in by_class.items()
            if n
        }
    )
    return faults, np.array([sum(kept["rows"][split][name] for split in SPLITS) for name in CLASSES])
