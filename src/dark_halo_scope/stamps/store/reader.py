"""Batches out of a training store: rows by number, with what was measured of them, copied into the batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE
from dark_halo_scope.stamps.decoder import Fault
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.open_groups import OpenGroups
from dark_halo_scope.stamps.store import layout
from dark_halo_scope.stamps.store.groups import StoreGroups
from dark_halo_scope.stamps.store.precision import from_float16


class StoreReader:
    """Reads rows of a training store, of which ``open_row_groups`` row groups are kept open; for threads too.

    Attributes:
        fields: Shape of one stamp's value and type of each field: ``image`` as it is stored, beside float16 the
            ``exponent`` of the power of two to multiply it by, and ``sky``, ``sky_sigma``, ``median``, ``mad`` of each
            band in nanomaggies: see `statistics`.
    """

    fields: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

    def __init__(self, index: StampIndex, *, open_row_groups: int) -> None:
        assert index.store is not None
        precision = index.store.pixels["dtype"]
        self._index = index
        self._groups = OpenGroups(open_row_groups, StoreGroups(index, precision).open)
        self.fields = {
            "image": (STAMP_SHAPE, np.dtype(precision)),
            **({"exponent": ((), np.dtype(np.int8))} if precision == "float16" else {}),
            **dict.fromkeys(layout.BATCH_STATISTICS, ((len(BANDS),), np.dtype(np.float32))),
        }

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> list[Fault]:
        """Write the fields of ``rows`` (b,) to ``out``, arrays of (b, ...) by name; a store has no bad rows."""
        if not len(rows):
            return []
        number = self._index.group_of(rows)
        place = rows - self._index.group_starts[number]
        wanted = list(dict.fromkeys(number.tolist()))
        opened = dict(zip(wanted, self._groups.get(wanted), strict=True))  # the disk is asked for all, then one is read
        found = [(opened[group], k) for group, k in zip(number.tolist(), place.tolist(), strict=True)]
        np.concatenate([group.pixels[k] for group, k in found], out=out["image"].view(np.uint8).reshape(-1))
        measured = np.concatenate([group.measured[k] for group, k in found]).reshape(len(rows), -1)
        for k, name in enumerate(layout.BATCH_STATISTICS):
            out[name][:] = measured[:, k * len(BANDS) : (k + 1) * len(BANDS)].view(np.float32)
        if "exponent" in self.fields:
            out["exponent"][:] = measured[:, -1].view(np.int32)
        return []

    def decode(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> list[Fault]:
        """Write the pixels of ``rows`` (b,) to ``out`` (b, 3, 64, 64), in nanomaggies; a store has no bad rows."""
        fields = {name: np.empty((len(rows), *shape), dtype) for name, (shape, dtype) in self.fields.items()}
        self.read(rows, fields)
        if "exponent" in fields:
            from_float16(fields["image"], fields["exponent"], out)
        else:
            out[:] = fields["image"]
        return []
