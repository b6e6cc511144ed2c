"""Works of a moment on real stores: a base model leaves a file, a fine-tuning leaves one that holds it, and scores.

They are told by keys that the shipped config has: ``data.batch_size`` is the number of the base model (0: none),
``seed`` that of the job, ``paths.data_dir`` the folder of the stores; ``monitor.metric=none``: no base may be made.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.bases.canonical import canonical_json, content_key
from dark_halo_scope.bases.lease import Beat
from dark_halo_scope.bases.store import BaseStore
from dark_halo_scope.bases.work import Work
from tests.bases.specs import base_spec

BAD_BASES = (13, 17)
BAD_JOB, PASSING_JOB, DEADLY_JOB, UNKNOWN_JOB = 901, 902, 903, 904
BEAT = Beat(every_s=0.5, dead_after_s=60.0)


class ToyError(Exception):
    """A planted fault."""


@dataclass(frozen=True)
class ToyTuning:
    job: int
    base: str | None

    def key(self):
        return content_key(asdict(self))

    def to_json(self):
        return canonical_json(asdict(self))


@dataclass(frozen=True)
class Toy:
    """A base model and a job on it."""

    root: Path
    base: int
    job: int
    base_s: float = 0.0
    job_s: float = 0.0
    gate: str = ""  # a file that jobs wait for

    @property
    def base_spec(self):
        return base_spec(seed=self.base, groups=[f"p{number}" for number in range(self.base)]) if self.base else None

    @property
    def tuning(self):
        return ToyTuning(self.job, self.base_spec.key() if self.base else None)

    def stores(self):
        return BaseStore(self.root / "bases", beat=BEAT), BaseStore(self.root / "tunings", beat=BEAT)

    def build(self):
        bases, _ = self.stores()
        bases.build(self.base_spec, self._train)

    def _train(self, spec, folder):
        bases, _ = self.stores()
        note(self.root, "base", self.base, "again" if bases.where(spec.key()) else "begin")
        time.sleep(self.base_s)
        if self.base in BAD_BASES:
            raise ToyError(f"base {self.base} is bad")
        (folder / "weights.pt").write_text(f"base {self.base}")
        return {"val/loss": 0.5}

    def run(self):
        _, tunings = self.stores()
        tunings.build(self.tuning, self._tune)

    def _tune(self, tuning, folder):
        bases, tunings = self.stores()
        note(self.root, "job", self.job, "again" if tunings.where(tuning.key()) else "begin")
        time.sleep(self.job_s)
        while self.gate and not Path(self.gate).exists():
            time.sleep(0.05)
        if self.job == BAD_JOB:
            raise ToyError("the job is bad")
        if self.job == PASSING_JOB and len(notes(self.root, "job", self.job)) == 1:
            raise OSError("the disk hiccups")
        if self.job == DEADLY_JOB:
            os.kill(os.getpid(), signal.SIGKILL)
        start = (bases.get(tuning.base).folder / "weights.pt").read_text() if tuning.base else "fresh"
        (folder / "weights.pt").write_text(f"{start}, job {self.job}")
        pq.write_table(pa.table({"row": [0, 1]}), folder / "scores.parquet")
        return {"budget": {"train": 1, "val": 0}, "test": {"accuracy": 0.9}}

    def work(self, overrides=(), *, may_build=True):
        tuning = self.tuning
        labels = {
            "mode": "full_fine_tuning" if self.base else "target_only",
            "target": f"p{self.job}",
            "n_base": self.base,
            "replicate": 0,
            "fold": None,
            "budget": 1,
            "seed": self.job,
        }
        build = self.build if self.base and may_build else None
        return Work(tuning.key(), tuning.base, build, self.run, tuple(overrides), labels, self.base_spec)


class ToyWorkshop:
    """What `hydra.launcher.workshop` names."""

    def __init__(self, cfg):
        self.root = Path(cfg.paths.data_dir)
        self.bases, self.tunings = Toy(self.root, 0, 0).stores()

    def work(self, cfg, overrides):
        if cfg.seed == UNKNOWN_JOB:
            raise ToyError("there is no such job")
        seconds = (float(os.environ.get(name, "0")) for name in ("TOY_BASE_S", "TOY_JOB_S"))
        toy = Toy(self.root, cfg.data.batch_size, cfg.seed, *seconds, os.environ.get("TOY_GATE", ""))
        return toy.work(overrides, may_build=cfg.monitor.metric != "none")


def note(root, *words):
    """Add a line to the journal, in one write, whoever else writes: the words, this process, its parent."""
    root.mkdir(parents=True, exist_ok=True)
    line = " ".join(map(str, [*words, os.getpid(), os.getppid()])) + "\n"
    descriptor = os.open(root / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def notes(root, *words):
    """The journal's lines that begin so."""
    if not (root / "journal").exists():
        return []
    lines = [line.split() for line in (root / "journal").read_text().splitlines()]
    return [line for line in lines if line[: len(words)] == [str(word) for word in words]]


def records(folder):
    """The lines of ``jobs.jsonl``."""
    return [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]
