"""What a dashboard shows, section by section; every key here is one that a run logs."""

from collections.abc import Sequence
from dataclasses import dataclass

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from dark_halo_scope.dashboards.panels import STEP, config_key, curves, lines, mistakes, note, roc

MAX_GPUS = 8  # of one machine
TARGETS = ("1e-2", "1e-3", "1e-4")


@dataclass(frozen=True)
class Column:
    """A parameter of a search."""

    parameter: str  # as on the command line: a key or a config group
    log: bool


def all_sections(columns: Sequence[Column], objectives: Sequence[str]) -> list[ws.Section]:
    """In the order in which one reads them; the first is open.

    Args:
        columns: what a search varies.
        objectives: the summary keys by which its trials are judged.
    """
    return [training(), calibration(), errors(), sweep(columns, objectives), throughput(), provenance()]


def training() -> ws.Section:
    """Does it learn, and is it still healthy?"""
    text = (
        "**val/auroc** chooses the best checkpoint, but saturates: read the completeness at a fixed false-positive "
        "rate beside it. **train/loss** falling while **val/loss** rises: overfitting. A rising gradient norm (taken "
        "before clipping) announces divergence."
    )
    return _section(
        "Training",
        note(text),
        lines("Loss", "train/loss", "val/loss"),
        lines("AUROC, average precision", "val/auroc", "val/ap"),
        lines("Completeness at a fixed false-positive rate", *(f"val/tpr_at_fpr_{fpr}" for fpr in TARGETS)),
        lines("Partial AUROC, false-positive rates below 1 %", "val/pauc_fpr_1e-2"),
        lines("Loss of single steps", "train/loss_step", log=True),
        lines("Gradient norm before clipping", "train/grad_norm", log=True),
        lines("Learning rate", "lr"),
        lines("Epoch", "epoch"),
        is_open=True,
    )


def calibration() -> ws.Section:
    """Do the probabilities mean what they say?"""
    text = (
        "The curves by step are **before** calibration. The reliability of the best checkpoint shows both: after "
        "calibration it should lie on the diagonal. A rising **val/ece** with a rising **val/auroc** is "
        "over-confidence, which calibration removes."
    )
    return _section(
        "Calibration",
        note(text),
        lines("Expected calibration error, uncalibrated", "val/ece"),
        lines("Brier score", "val/brier"),
        lines("Negative log-likelihood by class", "val/nll_lens", "val/nll_control", "val/nll"),
        *(curves(stage, "reliability", "Reliability: lenses found", "predicted probability") for stage in _STAGES),
    )


def errors() -> ws.Section:
    """Which stamps does it get wrong?"""
    text = (
        "Of the best checkpoint, on the test split, which neither training nor calibration has seen. Are the missed "
        "lenses arcs that nobody could see, are the false positives one kind of galaxy?"
    )
    return _section(
        "Errors",
        note(text),
        roc("test"),
        curves("test", "logits", "Logits: share of the class per bin", "logit"),
        wr.BarPlot(title="Completeness on the test split", metrics=[f"test/tpr_at_fpr_{fpr}" for fpr in TARGETS]),
        mistakes("test", "false_positives"),
        mistakes("test", "false_negatives"),
    )


def sweep(columns: Sequence[Column], objectives: Sequence[str]) -> ws.Section:
    """What do the parameters of a search do?"""
    text = (
        "Filter the runs by the tag `search=NAME` first. The importances are W&B's own, over all runs shown; the page "
        "that `sweep.py` writes has Optuna's."
    )
    axes = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(config_key(column.parameter)), log=column.log or None)
        for column in columns
    ]
    axes += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(objective)) for objective in objectives]
    slices = [
        wr.ScatterPlot(
            title=f"{objective} against {column.parameter}",
            x=wr.Config(config_key(column.parameter)),
            y=wr.SummaryMetric(objective),
            log_x=column.log or None,
        )
        for column in columns
        if "." in column.parameter  # the options of a group are no numbers
        for objective in objectives[:1]
    ]
    return _section(
        "Sweep",
        note(text),
        wr.ParallelCoordinatesPlot(title="Parameters and outcome", columns=axes, layout=wr.Layout(w=24, h=10)),
        *(wr.ParameterImportancePlot(with_respect_to=objective) for objective in objectives),
        *slices,
    )


def throughput() -> ws.Section:
    """What does it cost, and what does it wait for?"""
    text = (
        "A **share of waiting** above a few per cent: the loader, not the device, sets the pace; `halo prepare` makes "
        "a store that is read faster. The GPU panels stay empty on a CPU, the cost without "
        "`callbacks=[default,budget]`, the cache with local data."
    )
    gpus = range(MAX_GPUS)
    by_time = "RelativeTime(Process)"
    return _section(
        "Throughput and hardware",
        note(text),
        lines("Training stamps per second", "throughput/stamps_per_s"),
        lines("Share of the training time spent in waiting for data", "throughput/data_wait_fraction", share=True),
        lines("GPU memory, largest so far (GiB)", "throughput/gpu_memory_gib"),
        lines("GPU utilisation (%)", *(f"system/gpu.{k}.gpu" for k in gpus), x=by_time),
        lines("CPU utilisation of the process (%)", "system/cpu", x=by_time),
        lines("Memory of the process (MB)", "system/proc.memory.rssMB", x=by_time),
        lines("Read from the cache and from the remote (GB an epoch)", *(f"cache/{name}" for name in _CACHE)),
        lines("Cost of all runs of the ledger (USD)", "budget/cost_usd"),
        lines("Stamps left out, stamps repaired", "data/quarantined", "data/repaired"),
    )


def provenance() -> ws.Section:
    """What differs between two runs?"""
    text = (
        "Config, groups chosen, code version, library versions and data fingerprint of the runs shown, where they "
        "differ. The command of a run is on its Overview page and in its `provenance.json`."
    )
    return _section("Provenance", note(text), wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=12)))


_STAGES = ("val", "test")
_CACHE = ("gb_from_cache", "gb_from_remote", "gb_downloaded")


def _section(name: str, *panels: wr.interface.PanelTypes, is_open: bool = False) -> ws.Section:
    layout = ws.SectionLayoutSettings(columns=3, rows=3)
    settings = ws.SectionPanelSettings(x_axis=STEP)
    return ws.Section(name=name, panels=list(panels), is_open=is_open, layout_settings=layout, panel_settings=settings)
