"""The stamps that an export is checked and measured on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.export.finder import ExportError
from dark_halo_scope.stamps.contract import SPLITS, STAMP_SHAPE
from dark_halo_scope.stamps.decoder import QUARANTINED
from dark_halo_scope.stamps.source import StampSource, open_source

_N_TRAINING = 512  # to take ranges of activations from
_SEED = 0
_AT_A_TIME = 256

Images = NDArray[np.float32]


@dataclass(frozen=True)
class ExportSample:
    """Stamps drawn at random from a labelled dataset.

    Attributes:
        training: Raw stamps of the split train (n, 3, 64, 64).
        validation: Raw stamps of the split val (m, 3, 64, 64).
        labels: Of the validation stamps (m,), 1 for a lens.
        regions: Their sky regions (m,), None where the data name none.
        n_unusable: Stamps that were drawn and could not be decoded.
        fingerprint: Of the dataset.
    """

    training: Images
    validation: Images
    labels: NDArray[np.int8]
    regions: NDArray[Any] | None
    n_unusable: int
    fingerprint: str


def draw_sample(data: str, n_validation: int, region_column: str, max_nonfinite_fraction: float) -> ExportSample:
    """Draw stamps, the same ones every time; those too that a training was told to leave out, for they will be scored.

    Raises:
        ExportError: When the data have no labels and splits.
        ContractError: When they are no stamps, or lack a split.
    """
    source = open_source(data)
    label = source.known.label
    if label is None or source.known.split is None:
        raise ExportError(
            f"{data} has no labels and splits, on which the exported network is measured: give the dataset that the "
            "checkpoint was trained on (--data)"
        )
    rows = {split: source.known.rows(split) for split in SPLITS[:2]}
    training, _, n_bad_train = _read(source, _drawn(rows["train"], _N_TRAINING), max_nonfinite_fraction)
    validation, good, n_bad = _read(source, _drawn(rows["val"], n_validation), max_nonfinite_fraction)
    metadata = source.metadata(good)
    known = region_column in metadata.column_names
    return ExportSample(
        training=training,
        validation=validation,
        labels=label[good],
        regions=metadata[region_column].to_numpy() if known else None,
        n_unusable=n_bad + n_bad_train,
        fingerprint=source.fingerprint,
    )


def _drawn(rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:n])


def _read(
    source: StampSource, rows: NDArray[np.int64], max_nonfinite_fraction: float
) -> tuple[Images, NDArray[np.int64], int]:
    """Pixels of the usable ones among ``rows``, their numbers, and how many are not usable."""
    reader = source.reader(_AT_A_TIME, max_nonfinite_fraction)
    images = np.empty((len(rows), *STAMP_SHAPE), np.float32)
    faults = []
    for start in range(0, len(rows), _AT_A_TIME):
        faults += reader.decode(rows[start : start + _AT_A_TIME], images[start : start + _AT_A_TIME])
    good = ~np.isin(rows, [fault.row for fault in faults if fault.action == QUARANTINED])
    return images[good], rows[good], int(np.count_nonzero(~good))
