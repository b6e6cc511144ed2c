"""What is to be scored, by what and how: everything that the numbers depend on, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.callbacks.code_version import code_version
from dark_halo_scope.files import sha256
from dark_halo_scope.stamps.source import DEFAULT_PATH_COLUMN, StampSource, open_source

TTA = ("none", "d4")

Rows = NDArray[np.int64]


class ScoringError(ValueError):
    """Scores that cannot be made, or that would not be what they are taken for."""


@dataclass(frozen=True)
class ScoringJob:
    """Scores to be made; small enough to be sent to another process.

    Attributes:
        checkpoints: The members of the ensemble, in order; often one.
        data: What is scored: see `open_source`.
        path_column: Column of a catalogue that holds paths.
        split: The split to score; None for every row.
        tta: ``d4`` to average each logit over the eight orientations of the stamp, or ``none``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        device: ``cpu`` or ``cuda``.
        compiled: Whether what runs on the device is compiled (see `hardware`), which changes the last digits.
        batch_size: Stamps of a batch.
        part_stamps: Stamps of a part, the unit in which work is shared out and kept. Batches do not cross parts, so
            that no number depends on how the parts are shared.
    """

    checkpoints: tuple[Path, ...]
    data: str
    path_column: str = DEFAULT_PATH_COLUMN
    split: str | None = None
    tta: str = "none"
    precision: str = "32-true"
    device: str = "cpu"
    compiled: bool = False
    batch_size: int = 256
    part_stamps: int = 4096

    def __post_init__(self) -> None:
        if self.tta not in TTA:
            raise ScoringError(f"--tta {self.tta} is unknown; use {' or '.join(TTA)}")
        if min(self.batch_size, self.part_stamps) < 1:
            raise ScoringError("--batch-size and --part-stamps must be at least 1")

    @cached_property
    def source(self) -> StampSource:
        """The stamps."""
        return open_source(self.data, self.path_column)

    @cached_property
    def rows(self) -> Rows:
        """The rows to score, ascending."""
        return self.source.known.rows(self.split)

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return -(-len(self.rows) // self.part_stamps)

    def batches(self, part: int) -> Iterator[Rows]:
        """The rows of each batch of a part."""
        rows = self.rows[part * self.part_stamps : (part + 1) * self.part_stamps]
        for start in range(0, len(rows), self.batch_size):
            yield rows[start : start + self.batch_size]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What equal scores follow from: parts of jobs with equal identities may stand in one file."""
        version = code_version()
        return {
            "checkpoint_sha256": [sha256(checkpoint) for checkpoint in self.checkpoints],
            "data_fingerprint": self.source.fingerprint,
            "split": self.split,
            "tta": self.tta,
            "precision": self.precision,
            "device": self.device,
            "compiled": self.compiled,
            "batch_size": self.batch_size,
            "part_stamps": self.part_stamps,
            "code": {name: version[name] for name in ("package", "commit")},
        }
