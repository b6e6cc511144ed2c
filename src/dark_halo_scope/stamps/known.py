"""What a dataset that need not be training data says about its rows: labels, splits, usability, each where it does."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.stamps import contract
from dark_halo_scope.stamps.contract import SPLITS, ContractError

KNOWN_COLUMNS = ("lens_model", "region_split", "cutout_ok")


@dataclass(frozen=True)
class Known:
    """Facts about n rows.

    Attributes:
        label: 0 control, 1 lens; (n,), or None.
        split: Position in `contract.SPLITS`; (n,), or None.
        usable: Whether ``cutout_ok`` is 1, everywhere where there is no such column; (n,).
    """

    label: NDArray[np.int8] | None
    split: NDArray[np.int8] | None
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, table: pa.Table, name: str) -> "Known":
        """Read the columns ``lens_model``, ``region_split`` and ``cutout_ok`` as far as ``table`` has them.

        Raises:
            ContractError: When one of them holds what the contract does not know.
        """
        has = set(table.column_names)
        return cls(
            label=contract.labels(table["lens_model"], name) if "lens_model" in has else None,
            split=contract.splits(table["region_split"], name) if "region_split" in has else None,
            usable=contract.usable(table["cutout_ok"], name) if "cutout_ok" in has else np.ones(table.num_rows, bool),
        )

    def n_unusable(self, split: str | None) -> int:
        """Number of rows that the data call unusable, of one split or of all."""
        of_split = self.split == SPLITS.index(split) if split is not None and self.split is not None else True
        return int(np.count_nonzero(~self.usable & of_split))

    def rows(self, split: str | None) -> NDArray[np.int64]:
        """Numbers of the usable rows, of one split or of all.

        Raises:
            ContractError: When a split is asked for that there is not.
        """
        if split is None:
            return np.flatnonzero(self.usable)
        if self.split is None:
            raise ContractError(
                f"the data have no column region_split to take the split {split} from; leave --split out"
            )
        rows = np.flatnonzero(self.usable & (self.split == SPLITS.index(split)))
        if not len(rows):
            raise ContractError(f"the data have no usable row of the split {split}")
        return rows
