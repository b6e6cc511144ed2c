"""Finished parts of a scoring job, each one whole file: scores, and in its metadata the faults of its rows."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dark_halo_scope.files import write_atomically, write_json
from dark_halo_scope.jobs import only_process
from dark_halo_scope.scoring.job import ScoringError
from dark_halo_scope.stamps.decoder import Fault

_FAULTS_KEY = b"faults"
_IDENTITY = "job.json"


@dataclass(frozen=True)
class Part:
    """Scores of the usable rows of a part.

    Attributes:
        rows: (n,).
        logits: Of each member, (members, n).
        faults: Of rows that are not among them, or were repaired.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    faults: list[Fault]


class Parts:
    """The folder of a job's parts, beside the score file they become.

    Args:
        out: The score file.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.parts")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep other processes from it, waiting for one that is at work there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_process(self.folder / "lock"):
            yield

    def claim(self, identity: dict[str, Any]) -> None:
        """Write down whose parts these are, or make sure that those that are there belong to the same job.

        Raises:
            ScoringError: When it does not, naming what differs.
        """
        path = self.folder / _IDENTITY
        if not path.exists():
            write_json(path, identity)
            return
        before = json.loads(path.read_text())
        if changed := [name for name, value in identity.items() if before.get(name) != value]:
            raise ScoringError(
                f"{self.folder} holds the beginning of other scores (another {', '.join(changed)}); "
                "delete it, or give another --out"
            )

    def remove(self) -> None:
        """Remove all parts, once they stand in the score file."""
        shutil.rmtree(self.folder)

    def missing(self, n_parts: int) -> list[int]:
        """Numbers of the parts that are still to be made."""
        return [number for number in range(n_parts) if not self._path(number).exists()]

    def write(self, number: int, part: Part) -> None:
        """Keep a finished part."""
        columns = {"row": part.rows} | {f"logit_{k}": logits for k, logits in enumerate(part.logits)}
        faults = json.dumps([asdict(fault) for fault in part.faults]).encode()
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns).replace_schema_metadata({_FAULTS_KEY: faults}), sink)
        write_atomically(self._path(number), sink.getvalue().to_pybytes())

    def read(self, number: int) -> Part:
        """A finished part."""
        table = pq.read_table(self._path(number))
        logits = np.stack([table[name].to_numpy() for name in table.column_names[1:]])
        faults = [Fault(**fault) for fault in json.loads(table.schema.metadata[_FAULTS_KEY])]
        return Part(table["row"].to_numpy(), logits, faults)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"
