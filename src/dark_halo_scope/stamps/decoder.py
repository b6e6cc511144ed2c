"""Rows to pixels, and a note of every row that would not decode cleanly."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.codec import StampError, decode_stamp
from dark_halo_scope.stamps.contract import STAMP_SHAPE
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.repair import fill_nonfinite
from dark_halo_scope.stamps.row_groups import RowGroups

QUARANTINED, REPAIRED = "quarantined", "repaired"


@dataclass(frozen=True)
class Fault:
    """Something wrong with one row: ``action`` says whether it was left out or put right."""

    row: int
    action: str
    reason: str
    message: str


class RowByRow(ABC):
    """Decodes stamps one after the other, wherever they come from; safe to call from threads.

    Args:
        max_nonfinite_fraction: Fraction of a band up to which non-finite pixels are filled with the sky.

    Attributes:
        fields: ``image``, float32 in nanomaggies.
    """

    fields: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]] = {"image": (STAMP_SHAPE, np.dtype(np.float32))}

    def __init__(self, max_nonfinite_fraction: float) -> None:
        self._max_nonfinite_fraction = max_nonfinite_fraction

    @abstractmethod
    def _decoder(self, rows: NDArray[np.int64]) -> Callable[[int, NDArray[np.float32]], None]:
        """What writes row number k of ``rows`` to an array (3, 64, 64), or raises `StampError`."""

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> list[Fault]:
        """Write the fields of ``rows`` (b,) to ``out``, arrays of (b, ...) by name; give the faults: see `decode`."""
        return self.decode(rows, out["image"])

    def decode(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> list[Fault]:
        """Write the pixels of ``rows`` (b,) to ``out`` (b, 3, 64, 64), in nanomaggies, all finite.

        Returns:
            The faults found, in the order of the rows. Where one says ``quarantined``, ``out`` holds no valid pixels.
        """
        decode = self._decoder(rows)
        faults = []
        for k, (row, image) in enumerate(zip(rows.tolist(), out, strict=True)):
            try:
                decode(k, image)
                n_filled = fill_nonfinite(image, self._max_nonfinite_fraction)
            except StampError as error:
                faults.append(Fault(row, QUARANTINED, error.reason, str(error)))
            else:
                if n_filled:
                    faults.append(Fault(row, REPAIRED, "nonfinite", f"{n_filled} pixels were filled with the sky"))
        return faults


class StampDecoder(RowByRow):
    """Decodes rows of a raw dataset.

    Args:
        index: The dataset.
        open_row_groups: Row groups to keep open.
        max_nonfinite_fraction: See `RowByRow`.
        rows_at_a_time: See `RowGroups`.
    """

    def __init__(
        self,
        index: StampIndex,
        *,
        open_row_groups: int,
        max_nonfinite_fraction: float,
        rows_at_a_time: int | None = None,
    ) -> None:
        super().__init__(max_nonfinite_fraction)
        self._index = index
        self._groups = RowGroups(index, open_row_groups, rows_at_a_time)

    def _decoder(self, rows: NDArray[np.int64]) -> Callable[[int, NDArray[np.float32]], None]:
        groups = self._index.group_of(rows)
        in_group = (rows - self._index.group_starts[groups]).tolist()
        numbers = groups.tolist()

        def decode(k: int, image: NDArray[np.float32]) -> None:
            first, rest = self._groups.stamp_bytes(numbers[k], in_group[k])
            decode_stamp(first, image, rest)

        return decode
