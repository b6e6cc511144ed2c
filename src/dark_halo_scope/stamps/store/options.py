"""How a training store is made."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from dark_halo_scope.stamps.store.manifest import FORMAT_VERSION

PRECISIONS = ("float16", "float32")
_MAX_ROW_GROUP_STAMPS = 16_384  # its pixels are one page, whose size parquet counts in 31 bits


class StoreError(ValueError):
    """A store that cannot be made, or is not what it was made as."""


@dataclass(frozen=True)
class StoreOptions:
    """Settings of `prepare`.

    Attributes:
        precision: ``float32`` keeps every pixel bit for bit, ``float16`` takes half the room.
        max_float16_error: Largest rms error of a band that float16 may make, over the sky noise of the band; at 0.05
            the noise grows by 0.1 %. A stamp above it is quarantined, reason ``float16_error``.
        seed: Seed of the shuffle.
        shard_stamps: Most stamps of a file; whole ones are kept in memory while they are shuffled, one a core if they
            fit into a quarter of the machine's memory.
        row_group_stamps: Stamps of a row group.
        max_nonfinite_fraction: As in `StampDataModule`; so are the following.
        quarantine_limit: Largest fraction of unusable stamps in a split.
        on_split_leak: ``stop`` or ``drop``.
        region_column: Column that names the sky region.
        host_column: Column that names the host galaxy.
    """

    precision: str = "float16"
    max_float16_error: float = 0.05
    seed: int = 0
    shard_stamps: int = 16_384
    row_group_stamps: int = 256
    max_nonfinite_fraction: float = 0.01
    quarantine_limit: float = 0.001
    on_split_leak: str = "stop"
    region_column: str = "region_id"
    host_column: str = "host_id"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise StoreError(f"precision={self.precision} is unknown; use {' or '.join(PRECISIONS)}")
        if not 1 <= self.row_group_stamps <= _MAX_ROW_GROUP_STAMPS:
            raise StoreError(f"row_group_stamps={self.row_group_stamps} must lie in 1 ... {_MAX_ROW_GROUP_STAMPS}")
        if self.shard_stamps < 1:
            raise StoreError(f"shard_stamps={self.shard_stamps} must be at least 1")
        if not 0 <= self.max_nonfinite_fraction < 0.5:
            raise StoreError(f"max_nonfinite_fraction={self.max_nonfinite_fraction} must lie in [0, 0.5)")
        if not self.max_float16_error > 0:
            raise StoreError(f"max_float16_error={self.max_float16_error} must be positive")

    @property
    def index_checks(self) -> dict[str, str]:
        """The arguments of `StampIndex.build`."""
        return {
            "region_column": self.region_column,
            "host_column": self.host_column,
            "on_split_leak": self.on_split_leak,
        }

    def settings(self) -> dict[str, Any]:
        """What the store's bytes depend on besides the raw data; how many bad rows are borne is not among it."""
        kept = asdict(self)
        del kept["quarantine_limit"]
        return kept

    def digest(self, raw_fingerprint: str) -> str:
        """Hex digest of all that the store's bytes depend on: equal digests, equal stores."""
        depends_on = [FORMAT_VERSION, raw_fingerprint, self.settings()]
        return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
