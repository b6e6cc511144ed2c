"""From a composed config to a fine-tuning: what determines it and its base model, and where all of it lies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope import hardware
from dark_halo_scope.bases.base import Base
from dark_halo_scope.bases.describe import base_spec, learner_of, tune_spec
from dark_halo_scope.bases.fit import OF_THE_MACHINE, Machine
from dark_halo_scope.bases.modes import ModeError, mode_named
from dark_halo_scope.bases.roots import TUNINGS
from dark_halo_scope.bases.source import Source
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.bases.store import BaseStore, MissingBaseError
from dark_halo_scope.bases.train import train_base
from dark_halo_scope.bases.tune import tune
from dark_halo_scope.bases.tune_spec import TuneSpec
from dark_halo_scope.bases.work import Label, Work, command_of

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a job finds and leaves things: nothing of it is in any key.

    Attributes:
        root: Of the store of base models; that of fine-tunings is inside it.
        remote: Store to copy missing base models from.
        reopen: Opens the data.
        stream: How they are read.
        machine: On what is trained.
    """

    root: str
    remote: str | None
    reopen: Callable[[], Source]
    stream: Config
    machine: Machine

    @property
    def bases(self) -> BaseStore:
        """Store of the base models."""
        return _store(self.root, self.remote)

    @property
    def tunings(self) -> BaseStore:
        """Store of the fine-tunings."""
        return _store(str(Path(self.root) / TUNINGS), None)


@lru_cache
def _store(root: str, remote: str | None) -> BaseStore:
    """One for a process, which verifies an artefact once."""
    return BaseStore(root, remote=remote)


@dataclass(frozen=True)
class Job:
    """One fine-tuning.

    Attributes:
        overrides: The command line that makes it.
        base: What determines its base model; None where it starts from fresh weights.
        tune: What determines it, the key of its base among it.
        labels: What it is called in tables.
        place: Where it is made.
    """

    overrides: tuple[str, ...]
    base: BaseSpec | None
    tune: TuneSpec
    labels: Mapping[str, Label]
    place: Place

    def key(self) -> str:
        """Of the fine-tuning."""
        return self.tune.key()

    def work(self, may_build: bool) -> Work:
        """The same for an engine."""
        build = partial(build_base, self.base, self.place) if self.base and may_build else None
        run = partial(run_tuning, self.tune, self.base, self.place)
        return Work(self.key(), self.tune.base, build, run, self.overrides, self.labels, self.base)


class Workshop:
    """Makes works of configs: see `bases.work.Workshop`.

    Args:
        cfg: Any config of the sweep.

    Raises:
        ModeError: It is none of fine-tunings.
    """

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.get("finetune") is None:
            raise ModeError(
                "this launcher runs fine-tunings only: add experiment=participant_finetune or lens_finetune, or leave "
                "hydra/launcher as it is"
            )
        self.bases = _store(str(cfg.bases.store), cfg.bases.remote)
        self.tunings = _store(str(Path(cfg.bases.store) / TUNINGS), None)

    def work(self, cfg: DictConfig, overrides: tuple[str, ...]) -> Work:
        """The work of a config."""
        return job_of(cfg, overrides).work(cfg.build)


def job_of(cfg: DictConfig, overrides: tuple[str, ...] = ()) -> Job:
    """The fine-tuning that a config describes, held against the data; nothing is trained.

    Args:
        cfg: What the data decide is set in it.
        overrides: The command line it is composed of.

    Raises:
        ModeError, GroupError, SpecError, NodeError: It cannot be made, or not without a leak.
    """
    mode = mode_named(cfg.finetune.mode)
    source: Source = get_object(cfg.bases.source)(cfg)
    machine = hardware.resolve(cfg.hardware)
    cfg.hardware.loader_threads = machine.loader_threads
    target = source.target(cfg.target)
    learner = learner_of(cfg, source.index.fingerprint, source.samples(cfg, target), machine.precision)
    base, fold = None, None
    if mode.starts_from_base:
        groups, fold = source.base_groups(cfg, target)
        base = base_spec(cfg, groups, learner)
        source.refuse_leaks(base, target)
        source.base_parts(base)
    spec = tune_spec(cfg, target, source.division(cfg), base, learner)
    source.target_parts(target, spec.division, spec.budget, spec.n_val)
    labels: dict[str, Label] = {
        "mode": mode.name,
        "target": target,
        "n_base": len(base.groups) if base else cfg.n_base,
        "replicate": cfg.replicate,
        "fold": fold,
        "budget": cfg.budget,
        "seed": cfg.finetune.seed,
    }
    return Job(overrides, base, spec, labels, place_of(cfg, source))


def place_of(cfg: DictConfig, source: Source) -> Place:
    """Where the job of a config is made."""
    task = {name: cfg.task[name] for name in OF_THE_MACHINE if name in cfg.task and name != "seed"}
    asked: Any = OmegaConf.to_container(cfg.hardware, resolve=True)
    machine = Machine(asked, task, progress=False)
    return Place(str(cfg.bases.store), cfg.bases.remote, source.reopen, source.stream(cfg), machine)


def build_base(spec: BaseSpec, place: Place) -> Base:
    """The base model of a spec, trained if it is not in the store."""
    train = partial(train_base, source=place.reopen(), stream=place.stream, machine=place.machine)
    return place.bases.build(spec, train)


def run_tuning(spec: TuneSpec, base: BaseSpec | None, place: Place) -> Base:
    """The fine-tuning of a spec, made if it is not in the store, of a base model that must be there.

    Raises:
        MissingBaseError: It is not.
    """

    def make(spec: TuneSpec, folder: Path) -> dict[str, Any]:
        weights = None
        if spec.base is not None:
            if (found := place.bases.get(spec.base)) is None:
                raise MissingBaseError(f"the base model {spec.base[:12]} is not in the store {place.root}")
            weights = found.weights()
        return tune(
            spec,
            folder,
            base=base,
            weights=weights,
            source=place.reopen(),
            stream=place.stream,
            machine=place.machine,
        )

    return place.tunings.build(spec, make)


def run_job(job: Job, may_build: bool) -> Base:
    """The fine-tuning of a job, its base model fetched, or trained if that may be, where one is missing.

    Raises:
        MissingBaseError: There is no base model, and none may be trained.
    """
    if (done := job.place.tunings.get(job.key())) is not None:
        return done
    if job.base is not None and job.place.bases.get(job.base.key()) is None:
        if not may_build:
            words = [word for word in job.overrides if not word.startswith("build=")]
            raise MissingBaseError(
                f"the base model {job.base.key()[:12]} of {len(job.base.groups)} groups is not in the store "
                f"{job.place.root}, and build=false: train it by {command_of([*words, 'build=true'])}"
            )
        build_base(job.base, job.place)
    return run_tuning(job.tune, job.base, job.place)
