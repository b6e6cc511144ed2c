"""The two sweepers, and how each is told the same: space, sampler, seed, number of trials, storage."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dark_halo_scope.configuration import REPOSITORY

OURS, PEER = "halo", "hydra-optuna-sweeper"
RATE = ("optimizer.lr=tag(log, interval(1e-5, 1e-1))",)
SPACE = (
    *RATE,
    "optimizer.weight_decay=tag(log, interval(1e-6, 1))",
    "model.dropout=interval(0.0, 0.5)",
    "data.batch_size=16,32,64,128",
)
TPE = {"n_startup_trials": 10, "multivariate": "true", "group": "true"}
TIMEOUT_S = 600


@dataclass(frozen=True)
class Contender:
    """A sweeper in its own environment.

    Attributes:
        name: ``halo`` or ``hydra-optuna-sweeper``.
        python: the interpreter that has it.
        prunes: whether the median pruner is on; the peer has none.
    """

    name: str
    python: Path
    prunes: bool = False

    @property
    def label(self) -> str:
        """Name in a table."""
        return f"{self.name}, {'median pruner' if self.prunes else 'no pruning'}"

    def words(self, folder: Path, space: Sequence[str], n_trials: int, seed: int) -> list[str]:
        """The command line after the job's name."""
        if self.name == OURS:
            sampler = {f"search.sampler.{key}": value for key, value in TPE.items()}
            settings = sampler | {
                "hparams_search": "optuna",
                "search_space": "none",
                "hparams_search/pruner": "median" if self.prunes else "none",
                "search.name": "s",
                "search.n_trials": n_trials,
                "search.seed": seed,
                "search.repeat.best": 0,
                "search.heartbeat_s": 1,
                "search.grace_s": 4,
                "search.storage": url(folder),
                "search.folder": folder / "search",
            }
        else:
            settings = {f"hydra.sweeper.sampler.{key}": value for key, value in TPE.items()} | {
                "hydra/sweeper": "optuna",
                "hydra.sweeper.direction": "maximize",
                "hydra.sweeper.study_name": "s",
                "hydra.sweeper.n_trials": n_trials,
                "hydra.sweeper.n_jobs": 1,
                "hydra.sweeper.sampler.seed": seed,
                "hydra.sweeper.storage": url(folder),
                "hydra.sweep.dir": folder / "search",
            }
        return ["-m", *(f"{key}={value}" for key, value in settings.items()), *space]


@dataclass(frozen=True)
class Asked:
    """What a sweep is asked to do."""

    folder: Path
    n_trials: int
    job: str = "moment"
    space: Sequence[str] = RATE
    seed: int = 1
    ends: Mapping[str, str] | None = None  # how some jobs end, by number
    more: Sequence[str] = ()  # further overrides


def start(contender: Contender, asked: Asked, words: Sequence[str] | None = None) -> subprocess.Popen[bytes]:
    """Start a sweep in a process of its own, or another command line; it talks to ``sweep.log`` in its folder."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    if words is None:
        words = [*contender.words(asked.folder, asked.space, asked.n_trials, asked.seed), *asked.more]
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY / "src"),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "JOB": asked.job,
        "JOB_ENDS": json.dumps(asked.ends or {}),
        "JOB_JOURNAL": str(asked.folder / "journal.jsonl"),
    }
    with (asked.folder / "sweep.log").open("ab") as log:
        return subprocess.Popen(
            [str(contender.python), "-m", "benchmarks.sweepers.job", *words],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def sweep(contender: Contender, asked: Asked) -> int:
    """Run a sweep to its end; its exit code."""
    return start(contender, asked).wait(TIMEOUT_S)


def url(folder: Path) -> str:
    """Where a sweep keeps its study."""
    return f"sqlite:///{folder}/study.db"


def journal(folder: Path) -> list[dict[str, Any]]:
    """What the jobs of a sweep wrote down."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
