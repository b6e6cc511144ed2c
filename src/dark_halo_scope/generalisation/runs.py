"""The runs of the matrix: each an ordinary `train.py` in a folder of its own."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.generalisation.arms import Arm
from dark_halo_scope.generalisation.matrix import Matrix, MatrixError
from dark_halo_scope.monitoring.status import FILE, Status

OWN_KEYS = ("data.leave_out", "seed", "run_name", "experiment_name", "paths.log_dir", "resume")  # set for each run


@dataclass(frozen=True)
class MatrixRun:
    """One arm with one seed.

    Attributes:
        arm: What is left out.
        seed: Of the run.
        runs: The folder of all runs of the matrix.
    """

    arm: Arm
    seed: int
    runs: Path

    @property
    def name(self) -> str:
        """Arm and seed."""
        return f"{self.arm.name}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.runs / self.name

    @property
    def log(self) -> Path:
        """What the processes of the run have printed."""
        return self.runs / f"{self.name}.log"

    @property
    def scores(self) -> Path:
        """The score file."""
        return self.folder / "scores.parquet"

    def command(self, overrides: list[str]) -> list[str]:
        """Start it, or go on with it."""
        own = [
            f"paths.log_dir={_quoted(str(self.runs))}",
            f"experiment_name={_quoted(self.arm.name)}",
            f"run_name=seed{self.seed}",
            f"seed={self.seed}",
            "resume=auto",
        ]
        if self.arm.leave_out is not None:
            own.append(f"data.leave_out={_quoted(self.arm.leave_out)}")
        return [sys.executable, str(REPOSITORY / "train.py"), *overrides, *own]

    def is_finished(self) -> bool:
        """Whether it has been evaluated: the report is the last thing that a run writes."""
        return (self.folder / "report.html").exists()

    def check(self, matrix: Matrix) -> None:
        """Refuse a finished run that is not this one.

        Raises:
            MatrixError: It had another seed, left out something else, or saw other data.
        """
        config = OmegaConf.load(self.folder / "config.yaml")
        fingerprint = json.loads((self.folder / "provenance.json").read_text())["data_fingerprint"]
        expected = (self.seed, self.arm.leave_out, matrix.fingerprints[self.arm.name])
        if (config.seed, config.data.leave_out, fingerprint) != expected:
            raise MatrixError(
                f"{self.folder} holds another run (seed {config.seed}, left out: {config.data.leave_out}, "
                f"data {fingerprint[:12]}): remove it to run it again, or give another --out"
            )

    def fraction_done(self) -> float:
        """How far its training is, as far as the run says."""
        if self.is_finished():
            return 1.0
        if not (self.folder / FILE).exists():
            return 0.0
        status = Status.read(self.folder)
        return status.step / status.total_steps if status.total_steps else 0.0


def finished_runs(matrix: Matrix, runs: Path) -> list[MatrixRun]:
    """All runs of the matrix that have been evaluated, whichever command asked for them.

    Raises:
        MatrixError: One of them is not what its folder says.
    """
    found = []
    for arm in matrix.arms:
        seeds = sorted(int(folder.name.removeprefix("seed")) for folder in (runs / arm.name).glob("seed*[0-9]"))
        found += [run for run in (MatrixRun(arm, seed, runs) for seed in seeds) if run.is_finished()]
    for run in found:
        run.check(matrix)
    return found


def _quoted(text: str) -> str:
    """For Hydra's grammar of overrides."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
