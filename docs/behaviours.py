"""The picture of the README's "Reading the dashboards": runs made to show how a training can go, drawn together.

``python docs/behaviours.py`` trains what is missing into ``logs/behaviours``, some ten minutes on two cores, and draws.
"""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from omegaconf import OmegaConf

from dark_halo_scope.configuration import CONFIGS, REPOSITORY, register_resolvers
from dark_halo_scope.evaluation.plots import MIN_STAMPS_PER_BIN
from dark_halo_scope.files import write_atomically
from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, to_svg
from dark_halo_scope.pages.paper import on_paper
from dark_halo_scope.stamps.datamodule import StampDataModule

PICTURE = Path(__file__).with_name("behaviours.svg")
ALL = ["hardware=cpu", "audit.mode=off", "logger=csv", "trainer.log_every_n_steps=1", "callbacks.early_stopping=null"]
FEW_STAMPS = ["survey.regions.train=8", "survey.regions.val=8", "survey.regions.test=24", "transforms/augment=none"]
RUNS = {
    "healthy": ["model=small_cnn", "trainer.max_epochs=16"],
    "overfitting": ["model=resnet18_imagenet_stem", *FEW_STAMPS, "optimizer.lr=5e-5", "trainer.max_epochs=16"],
    "rate_too_high": [  # it rises linearly to 15,000 times that of the recipe
        *["model=small_cnn", "survey=tiny", "trainer.max_epochs=30", "trainer.check_val_every_n_epoch=5"],
        *["optimizer.lr=3", "scheduler.warmup_epochs=30", "trainer.gradient_clip_val=null"],
    ],
    "waiting": [
        *["model=small_cnn", "survey=tiny", "trainer.max_epochs=8"],
        "data._target_=docs.behaviours.LateStamps",
    ],
}
LATE_S = 0.5


class LateStamps(StampDataModule):
    """Stamps of which each training batch is held up, as by a slow disk or a far-away bucket."""

    def train_dataloader(self) -> Any:
        """The usual batches, late."""
        return Late(super().train_dataloader())


class Late:
    """A loader whose batches come late."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            time.sleep(LATE_S)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def main() -> None:
    """Train, then draw."""
    register_resolvers()
    paths = OmegaConf.create({"paths": OmegaConf.load(CONFIGS / "paths" / "default.yaml")}).paths
    logs = Path(paths.log_dir) / "behaviours"
    for name, overrides in RUNS.items():
        if not (logs / name / "report.html").exists():
            words = [*ALL, *overrides, "experiment_name=behaviours", f"run_name={name}", "resume=auto"]
            subprocess.run([sys.executable, str(REPOSITORY / "train.py"), *words], check=True)
    write_atomically(PICTURE, on_paper(picture(logs)).encode())


@house_style
def picture(logs: Path) -> str:
    """Six panels, each a behaviour."""
    figure = Figure(figsize=(10.2, 6.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    (healthy, overfitting, rate), (saturation, confidence, waiting) = figure.subplots(2, 3)
    losses(healthy, "a  Healthy", history(logs, "healthy"))
    losses(overfitting, "b  Overfitting", history(logs, "overfitting"))
    steps(rate, "c  Rate too high", logs / "rate_too_high")
    ranking(saturation, "d  AUROC saturates", history(logs, "healthy"))
    reliability(confidence, "e  Over-confident", logs / "overfitting")
    waits(waiting, "f  Waiting for data", history(logs, "waiting"), history(logs, "healthy"))
    return to_svg(figure, "behaviours", "Six panels: how a healthy training looks, and how others do")


def losses(axes: Axes, title: str, curves: dict[str, list[float]]) -> None:
    """Training and validation loss by epoch."""
    by_epoch(axes, curves, {"train/loss": "-", "val/loss": "--"})
    axes.set(ylabel="loss", ylim=(0, None))
    name(axes, title)


def ranking(axes: Axes, title: str, curves: dict[str, list[float]]) -> None:
    """What chooses the checkpoint, beside what counts at the prevalence of lenses."""
    by_epoch(axes, curves, {"val/auroc": "-", "val/tpr_at_fpr_1e-2": "--"})
    axes.set(ylim=(0, 1.02))
    name(axes, title)


def by_epoch(axes: Axes, curves: dict[str, list[float]], shown: dict[str, str]) -> None:
    """Two metrics, told apart by colour and by line."""
    for (metric, line), colour in zip(shown.items(), (LENS, CONTROL), strict=True):
        axes.plot(curves[metric], line, marker="o", ms=3, color=colour, label=metric)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=9)


def steps(axes: Axes, title: str, run: Path) -> None:
    """Loss and gradient norm of every step, on one logarithmic axis."""
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["train/loss_step"]]
    for metric, style, colour in (("train/loss_step", "-", LENS), ("train/grad_norm", ":", CONTROL)):
        axes.plot([float(line[metric]) for line in lines], style, lw=1.2, color=colour, label=metric)
    axes.set(xlabel="optimiser step", yscale="log")
    name(axes, title)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(fontsize=9)


def reliability(axes: Axes, title: str, run: Path) -> None:
    """Of the test split, before and after calibration."""
    calibration = json.loads((run / "metrics.json").read_text())["calibration"]
    axes.plot([0, 1], [0, 1], color=TEXT, lw=1, ls=":", alpha=0.6)
    for state, line, marker, colour in (("before", "--", "s", CONTROL), ("after", "-", "o", LENS)):
        bins = {column: np.array(values) for column, values in calibration[state]["bins"].items()}
        enough = bins["n"] >= MIN_STAMPS_PER_BIN
        label = f"{state}, ECE {calibration[state]['ece']:.2f}"
        predicted, observed = bins["predicted"][enough], bins["observed"][enough]
        axes.plot(predicted, observed, line, marker=marker, ms=4, color=colour, label=label)
    axes.set(xlabel="predicted probability", ylabel="observed fraction of lenses", xlim=(0, 1), ylim=(0, 1))
    name(axes, title)
    axes.legend(fontsize=9)


def waits(axes: Axes, title: str, late: dict[str, list[float]], healthy: dict[str, list[float]]) -> None:
    """Share of the training time spent in waiting, beside the healthy run's."""
    key = "throughput/data_wait_fraction"
    for curves, line, colour, label in (
        (late, "--", CONTROL, f"batches {LATE_S:g} s late"),
        (healthy, "-", LENS, "healthy"),
    ):
        axes.plot(curves[key], line, marker="o", ms=3, color=colour, label=label)
    axes.set(xlabel="epoch", ylabel=key, ylim=(0, 1))
    name(axes, title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.legend(fontsize=9)


def name(axes: Axes, title: str) -> None:
    """Write the panel's name over its left corner."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")


def history(logs: Path, run: str) -> dict[str, list[float]]:
    """Every metric of a run, by epoch."""
    metrics = json.loads((logs / run / "history.json").read_text())["metrics"]
    return {name: [value for _, _, value in metric["values"]] for name, metric in metrics.items()}


if __name__ == "__main__":
    main()
