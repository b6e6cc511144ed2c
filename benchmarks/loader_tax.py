"""The training benchmark: the same task on streamed and on resident batches, in turns."""

import argparse
import json
import math
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dark_halo_scope.torchvision_ops  # noqa: F401

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from scipy.stats import quantile_test

from benchmarks.machine import machine, versions
from benchmarks.mfu import flop_per_stamp, matmul_flop_per_s, now
from dark_halo_scope import hardware
from dark_halo_scope.configuration import CONFIGS, REPOSITORY, register_resolvers
from dark_halo_scope.run import index_data, keep_output_readable
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.tasks.lens_detection import LensDetectionTask

RESULTS = REPOSITORY / "benchmarks" / "results"
FORMS = ("raw", "store")

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        stamps_per_s: Over the timed steps, from the end of the last warm-up step to the end of the last step.
        data_wait_fraction: Share of that time between the end of a step and the arrival of the next batch.
    """

    stamps_per_s: float
    data_wait_fraction: float


@dataclass(frozen=True)
class Tax:
    """The share of its speed that training loses to the loader.

    Attributes:
        median: Over the rounds.
        low: Lower end of the 95 % interval of the median, by the ranks of the rounds (exact, whatever the scatter);
            None when there are too few of them for one (fewer than 6).
        high: Upper end.
    """

    median: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" ({self.low:.1%} to {self.high:.1%})"
        return f"{self.median:.1%}{interval}"


class Stopwatch(Callback):
    """Times the steps after the first ``warmup``; waits for the device only at the two ends."""

    def __init__(self, warmup: int, steps: int) -> None:
        self._warmup, self._last = warmup, warmup + steps
        self._done = self._stamps = 0
        self._start = self._idle_since = self._wait_s = 0.0
        self.sample: Sample

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The batch has come."""
        if self._done >= self._warmup:
            self._wait_s += now(torch.device("cpu")) - self._idle_since

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """The step is done, or queued on a GPU."""
        self._done += 1
        if self._done > self._warmup:
            self._stamps += len(batch["image"])
        if self._done == self._warmup:
            self._start = now(pl_module.device)
        if self._done == self._last:
            seconds = now(pl_module.device) - self._start
            self.sample = Sample(self._stamps / seconds, self._wait_s / seconds)
        self._idle_since = now(torch.device("cpu"))


class Resident(LightningDataModule):
    """One batch that stays on the device, again and again."""

    def __init__(self, batch: Batch, steps: int, index: StampIndex) -> None:
        super().__init__()
        self._batch, self._steps = batch, steps
        self.index = index

    def train_dataloader(self) -> "_Again":
        """The batch, ``steps`` times."""
        return _Again(self._batch, self._steps)


@dataclass(frozen=True)
class _Again:
    batch: Batch
    times: int

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.times):
            yield dict(self.batch)


def run_from_command_line(description: str) -> None:
    """Parse the arguments, run, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="of the dataset; default: both")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40, help="timed, in each measurement")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", type=Path, default=REPOSITORY / "data" / "bench-train", help="where stores are kept")
    parser.add_argument("--name", default="train", help="of the JSON file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("overrides", nargs="*", help="key=value, as for train.py")
    asked = parser.parse_intermixed_args()
    keep_output_readable()
    warnings.filterwarnings("ignore", module="lightning")
    console = Console(width=max(Console().width, 110))
    with tempfile.TemporaryDirectory() as run_dir:
        result = run(asked, _config(asked, run_dir), console)
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / f"{asked.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {path}")


def _config(asked: argparse.Namespace, run_dir: str) -> DictConfig:
    """The config of a run of ``warmup + steps`` steps that leaves nothing behind."""
    steps = asked.warmup + asked.steps
    ours = [f"recipe.batch_size={asked.batch_size}", f"trainer.max_steps={steps}", "trainer.max_epochs=-1"]
    ours += ["trainer.min_epochs=null", "trainer.limit_val_batches=0", "trainer.enable_model_summary=false"]
    ours += ["scheduler.warmup_steps=1", f"paths.run_dir={run_dir}"]
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["recipe=survey", *ours, *asked.overrides])


def run(asked: argparse.Namespace, config: DictConfig, console: Console) -> dict[str, Any]:
    """Measure every form and its resident batch in turns; returns what the JSON file holds."""
    here = hardware.resolve(config.hardware)
    config.hardware.loader_threads = here.loader_threads
    index = index_data(config)
    OmegaConf.resolve(config)
    task = build_task(config)
    flop = flop_per_stamp(task.network)
    device = torch.device("cuda" if here.accelerator == "gpu" else "cpu")
    streamed = {form: _streamed(form, config, asked.store / index.fingerprint[:16]) for form in asked.forms}
    arms: dict[str, LightningDataModule] = {}
    for form, data in streamed.items():
        resident = Resident(_first_batch(data, device), asked.warmup + asked.steps, index)
        arms |= {form: data, f"{form}, resident": resident}
    samples: dict[str, list[Sample]] = {name: [] for name in arms}
    for round_number in range(asked.rounds):
        for name in reversed(arms) if round_number % 2 else arms:
            samples[name].append(_measured(task, arms[name], config, here, asked))
            console.print(f"round {round_number + 1}/{asked.rounds}: {name} {samples[name][-1].stamps_per_s:,.1f} /s")
    matmul = matmul_flop_per_s(device, here.precision)
    taxes = {form: loader_tax(samples[form], samples[f"{form}, resident"]) for form in asked.forms}
    result = {
        "benchmark": "train",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": OmegaConf.to_container(config.model),
        "transforms": OmegaConf.to_container(config.transforms),
        "stamps": index.class_counts("train"),
        **{name: getattr(asked, name) for name in ("batch_size", "steps", "warmup", "rounds")},
        "device": here.device_name,
        "precision": here.precision,
        "compiled": here.compiled,
        "loader_threads": here.loader_threads,
        "machine": machine(),
        "versions": versions(),
        "gflop_per_stamp": flop / 1e9,
        "matmul_tflop_per_s": matmul / 1e12,
        "arms": {name: _summary(values, flop, matmul) for name, values in samples.items()},
        "loader_tax": {form: asdict(tax) for form, tax in taxes.items()},
    }
    console.print(_table(result, taxes))
    return result


def _streamed(form: str, config: DictConfig, folder: Path) -> StampDataModule:
    root = config.data.root
    if form == "store":
        prepare(root, folder, StoreOptions())
        root = str(folder)
    data: StampDataModule = instantiate(config.data, root=root)
    return data


def _first_batch(data: StampDataModule, device: torch.device) -> Batch:
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    return {name: values.to(device, copy=True) for name, values in batch.items()}


def _measured(
    task: LensDetectionTask,
    data: LightningDataModule,
    config: DictConfig,
    here: hardware.Hardware,
    asked: argparse.Namespace,
) -> Sample:
    """One fit of the same task; its weights go on, its optimiser is made anew."""
    stopwatch = Stopwatch(asked.warmup, asked.steps)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer: Trainer = instantiate(config.trainer, **here.trainer_arguments(), **quiet, callbacks=[stopwatch])
    trainer.fit(task, datamodule=data)
    return stopwatch.sample


def _summary(samples: list[Sample], flop: float, matmul: float) -> dict[str, Any]:
    rates = [sample.stamps_per_s for sample in samples]
    rate = statistics.median(rates)
    return {
        "stamps_per_s": rate,
        "min": min(rates),
        "max": max(rates),
        "data_wait_fraction": statistics.median(sample.data_wait_fraction for sample in samples),
        "tflop_per_s": rate * flop / 1e12,
        "model_flop_utilisation": rate * flop / matmul,
        "samples": [asdict(sample) for sample in samples],
    }


def loader_tax(streamed: list[Sample], resident: list[Sample]) -> Tax:
    """What the rounds, each a pair, tell of the loader's share."""
    pairs = zip(streamed, resident, strict=True)
    shares = [1 - real.stamps_per_s / ideal.stamps_per_s for real, ideal in pairs]
    interval = quantile_test(shares, p=0.5).confidence_interval(0.95)
    low, high = (None if math.isnan(end) else float(end) for end in interval)
    return Tax(statistics.median(shares), low, high)


def _table(result: dict[str, Any], taxes: dict[str, Tax]) -> Table:
    title = (
        f"{result['device']} ({result['machine']['cpu']}), {result['precision']}, batches of {result['batch_size']}, "
        f"{result['gflop_per_stamp']:.2f} GFLOP a stamp, matrix product {result['matmul_tflop_per_s']:.3g} TFLOP/s"
    )
    table = Table(title=title)
    for heading in ("batches", "stamps/s", "min-max", "waits for data", "TFLOP/s", "of matmul", "loader tax"):
        table.add_column(heading, justify="left" if heading == "batches" else "right")
    for name, arm in result["arms"].items():
        table.add_row(
            name,
            f"{arm['stamps_per_s']:,.1f}",
            f"{arm['min']:,.1f}-{arm['max']:,.1f}",
            f"{arm['data_wait_fraction']:.1%}",
            f"{arm['tflop_per_s']:.3g}",
            f"{arm['model_flop_utilisation']:.0%}",
            str(taxes.get(name, "")),
        )
    return table
