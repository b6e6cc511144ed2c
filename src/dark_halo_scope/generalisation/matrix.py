"""What a matrix is made of, kept in its folder: the same arms for every command that goes on with it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dark_halo_scope.files import write_json
from dark_halo_scope.generalisation.arms import COLUMNS, Arm, Impossible, design
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import LeakChecks, StampIndex

FILE = "matrix.json"
_OF_THE_MACHINE = ("hardware", "logger")  # overrides that may differ from one command to the next


class MatrixError(ValueError):
    """A matrix that cannot be made, or gone on with, as asked."""


@dataclass(frozen=True)
class Matrix:
    """All that its runs depend on, but the seed.

    Attributes:
        data_root: The dataset.
        data_fingerprint: Its fingerprint with nothing left out.
        overrides: Of the config, as given.
        arms: The reference first.
        impossible: Arms that the data do not allow.
        fingerprints: Of what is left of the dataset, by arm.
        left_out: Rows left out of train and val, by arm, split and class.
    """

    data_root: str
    data_fingerprint: str
    overrides: list[str]
    arms: list[Arm]
    impossible: list[Impossible]
    fingerprints: dict[str, str]
    left_out: dict[str, dict[str, dict[str, int]]]

    @classmethod
    def open(cls, folder: Path, index: StampIndex, checks: LeakChecks, overrides: Sequence[str]) -> "Matrix":
        """That of a folder, or a new one designed on these data.

        Raises:
            MatrixError: When the folder holds one of other data or settings.
        """
        overrides = [word for word in overrides if word.split("=")[0].split(".")[0] not in _OF_THE_MACHINE]
        if not (folder / FILE).exists():
            matrix = cls._designed(index, checks, overrides)
            write_json(folder / FILE, asdict(matrix))
            return matrix
        kept = cls._read(folder / FILE)
        if kept.data_fingerprint != index.fingerprint:
            raise MatrixError(f"{folder} holds runs on other data ({kept.data_root}): give another --out")
        if kept.overrides != overrides:
            raise MatrixError(
                f"{folder} holds runs of other settings ({' '.join(kept.overrides) or 'the defaults'}): "
                "give the same ones to go on with it, or another --out"
            )
        return kept

    @classmethod
    def _designed(cls, index: StampIndex, checks: LeakChecks, overrides: list[str]) -> "Matrix":
        designed, impossible = design(index.metadata(index.rows("train"), list(COLUMNS)))
        arms, fingerprints, left_out = [], {}, {}
        for arm in designed:
            chosen = LeakChecks(checks.region_column, checks.host_column, checks.on_split_leak, arm.leave_out)
            try:
                rest = StampIndex.scan(index.files, index.store, chosen)
            except ContractError as error:
                impossible.append(Impossible(arm.name, str(error)))
                continue
            arms.append(arm)
            fingerprints[arm.name] = rest.fingerprint
            left_out[arm.name] = rest.excluded().get("left_out_on_request", {})
        root = index.files.root
        return cls(root, index.fingerprint, overrides, arms, impossible, fingerprints, left_out)

    @classmethod
    def _read(cls, path: Path) -> "Matrix":
        kept: dict[str, Any] = json.loads(path.read_text())
        kept["arms"] = [Arm(**arm) for arm in kept["arms"]]
        kept["impossible"] = [Impossible(**arm) for arm in kept["impossible"]]
        return cls(**kept)
