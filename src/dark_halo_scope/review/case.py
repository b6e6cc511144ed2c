"""What a review looks at: a run folder, its data and its checkpoint, each read when a question first asks for it."""

import json
import os
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf

from dark_halo_scope.audit.audit import audit_dataset
from dark_halo_scope.audit.catalogue import Catalogue, catalogue_of, read_catalogue
from dark_halo_scope.audit.sample import draw_rows
from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.review.answers import Answer, Check
from dark_halo_scope.stamps.contract import SPLITS, STAMP_SHAPE, ContractError
from dark_halo_scope.stamps.decoder import QUARANTINED
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from dark_halo_scope.stamps.reader import stamp_reader
from dark_halo_scope.tasks.lens_detection import LensDetectionTask
from dark_halo_scope.tasks.restore import load_task, read_checkpoint

NEEDED = (
    "config.yaml",
    "provenance.json",
    "history.json",
    "metrics.json",
    "scores.parquet",
    "quarantine/summary.json",
    "checkpoints/best.ckpt",
)
_N_STAMPS = 256  # whose pixels the review looks at
_N_FEW = 48  # of those, scored a dozen times over: a second or two on two cores for each pass of a ResNet18
_SEED = 0


class ReviewError(ValueError):
    """A run that cannot be reviewed."""


@dataclass(frozen=True)
class Stamps:
    """Some stamps of the data.

    Attributes:
        rows: Their rows, ascending; (n,).
        labels: 1 lens, 0 control; (n,).
        images: Raw, in nanomaggies; (n, 3, 64, 64).
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int8]
    images: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A finished run and the data it is judged on.

    Attributes:
        run: Run folder.
        root: The data; None for those the run was trained on.
        out: Folder that the review is written to.
        progress: Show bars.
        answered: Answers given so far, which the question on the risks sums up.
    """

    run: Path
    root: str | None
    out: Path
    progress: bool = False
    answered: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        missing = [name for name in NEEDED if not (self.run / name).is_file()]
        if missing:
            raise ReviewError(
                f"{self.run} is no finished run (it lacks {', '.join(missing)}): give the folder of a run, or end it "
                f"with python train.py resume={self.run}"
            )

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        content = OmegaConf.to_container(OmegaConf.load(self.run / "config.yaml"))
        assert isinstance(content, dict)
        return {str(key): value for key, value in content.items()}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Command, code, data, machine."""
        return self._json("provenance.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """All numbers of the evaluation."""
        return self._json("metrics.json")

    @cached_property
    def quarantine(self) -> dict[str, Any]:
        """Counts of what could not be used."""
        return self._json("quarantine/summary.json")

    @cached_property
    def history(self) -> dict[str, Any]:
        """Metrics by name, each with ``values`` (epoch, step, value)."""
        metrics: dict[str, Any] = self._json("history.json")["metrics"]
        return metrics

    @cached_property
    def scores(self) -> pa.Table:
        """The score file."""
        return read_scores(self.run / "scores.parquet")[0]

    def split_scores(self, split: str) -> pa.Table:
        """Scores of one split."""
        return self.scores.filter(pc.equal(self.scores["split"], split))

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """Content of ``best.ckpt``, read as tensors and plain values only."""
        return read_checkpoint(self.run / "checkpoints" / "best.ckpt")

    @cached_property
    def task(self) -> LensDetectionTask:
        """The task that the checkpoint describes, in eval mode."""
        return load_task(self.run / "checkpoints" / "best.ckpt")

    @cached_property
    def data_root(self) -> str:
        """Where the data lie."""
        return self.root or str(self.config["data"]["root"])

    @cached_property
    def region_column(self) -> str:
        """Names the region of sky."""
        return str(self.config["data"].get("region_column", "region_id"))

    @cached_property
    def catalogue(self) -> Catalogue:
        """The rows of the data, whether or not they keep the contract."""
        data = self.config["data"]
        columns = {"region_column": self.region_column, "host_column": data.get("host_column", "host_id")}
        choices = {name: data[name] for name in ("on_split_leak", "leave_out") if name in data}
        try:
            index = cached_index(self.data_root, data.get("index_cache"), LeakChecks(**columns, **choices))
        except ContractError:
            return read_catalogue(self.data_root, **columns)
        return catalogue_of(index, **columns)

    @property
    def index(self) -> StampIndex:
        """Rows in use by file, row group, split and class."""
        return self.catalogue.index

    @cached_property
    def is_own_data(self) -> bool:
        """Whether these are the very data that the run was trained on."""
        return bool(self.index.fingerprint == self.provenance["data_fingerprint"])

    @cached_property
    def audit_folder(self) -> Path:
        """Where the audit of these data lies; made here where the run has none of them."""
        for folder in (self.run, self.out / "audit"):
            path = folder / "audit.json"
            if path.is_file() and json.loads(path.read_text())["dataset"]["fingerprint"] == self.index.fingerprint:
                return folder
        settings = instantiate(OmegaConf.load(CONFIGS / "audit" / "default.yaml"))
        audit_dataset(self.catalogue, settings, progress=self.progress).write(self.out / "audit")
        return self.out / "audit"

    @cached_property
    def audit(self) -> dict[str, Any]:
        """Content of ``audit.json``."""
        record: dict[str, Any] = json.loads((self.audit_folder / "audit.json").read_text())
        return record

    def gate(self, name: str) -> Check:
        """The verdict of the audit on one of its questions."""
        gate = next(gate for gate in self.audit["gates"] if gate["name"] == name)
        return Check.of_gate(gate, self.name_of(self.audit_folder / "audit.html"))

    @cached_property
    def sample(self) -> Stamps:
        """Usable stamps of all splits and both classes, drawn at random."""
        rows = draw_rows(self.index, _N_STAMPS, _SEED)
        images = np.zeros((len(rows), *STAMP_SHAPE), np.float32)
        fraction = self.config["data"].get("max_nonfinite_fraction", 0.01)
        faults = stamp_reader(self.index, open_row_groups=2, max_nonfinite_fraction=fraction).decode(rows, images)
        good = ~np.isin(rows, [fault.row for fault in faults if fault.action == QUARANTINED])
        return Stamps(rows[good], self.index.label[rows[good]], images[good])

    @cached_property
    def few_stamps(self) -> Stamps:
        """Some stamps of the sample, none of them trained on, for what takes the network many passes."""
        held_out = np.flatnonzero(self.index.split[self.sample.rows] != SPLITS.index("train"))
        chosen = held_out[np.linspace(0, len(held_out) - 1, min(_N_FEW, len(held_out))).astype(int)]
        return Stamps(self.sample.rows[chosen], self.sample.labels[chosen], self.sample.images[chosen])

    def again(self, *overrides: str) -> str:
        """The command that trains such a run once more, with something else."""
        new = {word.partition("=")[0] for word in overrides} | {"run_name", "resume"}
        words = shlex.split(self.provenance["command"])
        return shlex.join([word for word in words if word.partition("=")[0] not in new] + list(overrides))

    @cached_property
    def precision(self) -> str:
        """In which the run trained and scored, as configs/hardware names it."""
        return str(self.provenance["hardware"].rpartition(", ")[2])

    def name_of(self, path: Path) -> str:
        """A file as evidence: its path seen from the run folder."""
        return os.path.relpath(path, self.run)

    @property
    def to_run(self) -> str:
        """The run folder seen from the folder of the review."""
        return os.path.relpath(self.run, self.out)

    def find(self, *names: str) -> Path | None:
        """The first of these files, below the run folder or by their own path, that exists."""
        return next((self.run / name for name in names if (self.run / name).is_file()), None)

    def _json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.run / name).read_text())
        return content
