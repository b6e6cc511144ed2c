"""C. Training: schedule, early stopping, clipping, and how the settings were found."""

import csv
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.evaluation import plots
from dark_halo_scope.review.answers import Check, Figure
from dark_halo_scope.review.case import Case

_OVERFITTED = 1.1  # last validation loss over the smallest
_CLIPPED = 0.9  # of the steps
_LOST_BY_CHOICE = 0.02  # of partial AUROC, by choosing the epoch by another metric
_NOISE = 10  # times min_delta


def schedule(case: Case) -> Iterator[Check]:
    """Warm-up and decay as they happened, and whether training was over when it ended."""
    monitor, epochs = case.config["monitor"]["metric"], case.config["trainer"]["max_epochs"]
    ran = int(_curve(case, "train/loss")[-1, 0]) + 1
    rates = _curve(case, "lr")[:, 1]
    base, floor = case.config["optimizer"]["lr"], case.config["scheduler"].get("floor_lr", 0.0)
    decayed = rates[-1] <= floor + 0.05 * base
    early = ran < epochs
    yield Check(
        "Learning rate",
        PASS if decayed or early else CONCERN,
        f"{ran} of {epochs} epochs; the rate ended at {rates[-1]:.1e} after a peak of {base:.1e}"
        + (", stopped early" if early else ""),
        value=float(rates[-1]),
        source="history.json",
        remedy="the schedule did not come to its end: let it",
        command=case.again("trainer.max_steps=-1", "trainer.max_time=null"),
    )
    values = _curve(case, monitor)
    sign = 1 if case.config["monitor"]["mode"] == "max" else -1
    gain = float(sign * (values[-1, 1] - values[-2, 1])) if len(values) > 1 else math.inf
    least = _early_stopping(case).get("min_delta", 0.001)
    rising = sign * values[-1, 1] >= (sign * values[:, 1]).max() and gain > least and not early
    yield Check(
        "Converged",
        CONCERN if rising else PASS,
        f"{monitor} was best in epoch {int(values[(sign * values[:, 1]).argmax(), 0])} (of 0 to {ran - 1})"
        + (f" and still rose by {gain:.3f} in the last one" if rising and len(values) > 1 else ""),
        source="history.json",
        remedy="training ended before it had converged: train longer",
        command=case.again(f"trainer.max_epochs={3 * epochs}"),
        figure=Figure(
            plots.training_plot(
                {"training": _curve(case, "train/loss"), "validation": _curve(case, "val/loss")},
                "losses",
                "loss",
                None,
                monitor,
            ),
            "Loss by epoch, training stamps augmented.",
        ),
    )
    losses = _curve(case, "val/loss")[:, 1]
    over = losses[-1] > _OVERFITTED * losses.min()
    yield Check(
        "Overfitting",
        CONCERN if over else PASS,
        f"the validation loss ended at {losses[-1]:.3f}; its smallest was {losses.min():.3f}",
        value=float(losses[-1] / losses.min()),
        source="history.json",
        remedy="the best checkpoint was kept, but the network has begun to memorise: regularise",
        command=case.again("model.dropout=0.2", "optimizer.weight_decay=1e-3"),
    )


def early_stopping(case: Case) -> Iterator[Check]:
    """What was monitored, against what a survey needs and against the noise of validation."""
    settings, monitor = _early_stopping(case), case.config["monitor"]["metric"]
    watched = settings.get("monitor")
    values = _curve(case, monitor)[:, 1]
    best = int(values.argmax() if case.config["monitor"]["mode"] == "max" else values.argmin())
    yield Check(
        "Stopping",
        PASS if watched == monitor else CONCERN,
        f"stops on {watched}, patience {settings.get('patience')}, min_delta {settings.get('min_delta')}; the "
        "checkpoint is "
        f"chosen by {monitor}, {len(values) - 1 - best} validations before the last"
        if watched
        else "there is no early stopping: the run ends with its last epoch",
        source="config.yaml",
        remedy="stop on what the checkpoint is chosen by",
        command=case.again(f"callbacks.early_stopping.monitor={monitor}"),
    )
    left = _curve(case, "val/pauc_fpr_1e-2")[:, 1]
    lost = float(left.max() - left[best])
    much = lost > _LOST_BY_CHOICE
    yield Check(
        "Choice of the epoch",
        CONCERN if much else PASS,
        f"the chosen epoch has a partial AUROC (FPR up to 1 %) of {left[best]:.3f} on validation; the best of "
        "all epochs, "
        f"{left.max():.3f}",
        value=lost,
        source="history.json",
        remedy="AUROC chose an epoch with a poorer left end of the ROC: monitor that",
        command=case.again("monitor.metric=val/pauc_fpr_1e-2"),
    )
    ends = case.metrics["intervals"]["test"].get("auroc")
    if ends is None:
        yield Check.missing(
            "Noise of the metric", "too few regions for an interval of AUROC", remedy="use more regions"
        )
        return
    half, delta = (ends[1] - ends[0]) / 2, settings.get("min_delta", 0.001)
    noisy = half > _NOISE * delta
    yield Check(
        "Noise of the metric",
        CONCERN if noisy else PASS,
        f"AUROC on the test regions is uncertain by {half:.4f} (half of its 95 % interval), against a "
        f"min_delta of {delta:g}",
        value=half,
        source="metrics.json",
        remedy="epochs are told apart by less than the sample can bear: larger validation, or seeds",
    )


def clipping(case: Case) -> Iterator[Check]:
    """How often the clip acted."""
    clip = case.config["trainer"]["gradient_clip_val"]
    norms, source = _gradient_norms(case)
    finite = bool(np.isfinite(norms).all())
    yield Check(
        "Finite gradients",
        PASS if finite else FAIL,
        f"{np.isfinite(norms).sum()} of {len(norms)} logged gradient norms are finite",
        source=source,
        remedy="lower the learning rate, or train in bf16 or fp32",
    )
    if not clip:
        yield Check(
            "Clip",
            CONCERN,
            "gradients are not clipped",
            source="config.yaml",
            remedy="one bad batch can undo an epoch",
            command=case.again("trainer.gradient_clip_val=1.0"),
        )
        return
    share = float((norms > clip).mean())
    always = share > _CLIPPED
    yield Check(
        "Clip",
        CONCERN if always else PASS,
        f"the norm was above {clip:g} in {share:.0%} of {len(norms)} logged steps (median {np.median(norms):.2g}): "
        + ("it sets the length of nearly every step" if always else "it acts on the larger ones only"),
        value=share,
        source=source,
        remedy="compare with a clip that meets one step in ten; AdamW divides by the "
        "gradient's own scale, so that little may change",
        command=case.again(f"trainer.gradient_clip_val={np.quantile(norms, 0.9):.2g}"),
    )


def search_ranges(case: Case) -> Iterator[Check]:
    """Whether the settings lie inside the ranges that are searched, and whether anybody searched."""
    space = "small" if case.config.get("recipe", {}).get("name") == "minutes" else "reference"
    outside, edge = [], []
    for key, (low, high) in _intervals(space).items():
        group, _, name = key.partition(".")
        value = case.config[group].get(name)
        if value is not None and not low <= value <= high:
            outside.append(f"{key}={value:g} (searched: {low:g} to {high:g})")
        elif value is not None and value in (low, high) and value > 0:
            edge.append(f"{key}={value:g}")
    yield Check(
        "Ranges",
        CONCERN if outside or edge else PASS,
        f"outside the search space {space}: {', '.join(outside)}"
        if outside
        else f"at the edge of the search space {space}: {', '.join(edge)}"
        if edge
        else f"learning rate {case.config['optimizer']['lr']:g} and weight decay "
        f"{case.config['optimizer']['weight_decay']:g} lie inside "
        f"the search space {space}",
        source="config.yaml",
        remedy="widen the space, or move inside it",
        command=f"python sweep.py experiment={case.config['experiment_name']} search_space={space} search.n_trials=50",
    )
    yield Check.missing(
        "Searched on these data",
        "whether other settings do better on these data cannot be told from this run",
        f"python sweep.py experiment={case.config['experiment_name']} data.root={case.data_root} "
        f"search_space={space} search.n_trials=50",
    )


def _curve(case: Case, name: str) -> NDArray[np.float64]:
    """Epoch and value of a metric, (n, 2)."""
    return np.array([(epoch, value) for epoch, _, value in case.history[name]["values"]], dtype=float)


def _early_stopping(case: Case) -> dict[str, Any]:
    settings: dict[str, Any] = case.config["callbacks"].get("early_stopping") or {}
    return settings


def _gradient_norms(case: Case) -> tuple[NDArray[np.float64], str]:
    """Norms before clipping: of every logged step where the CSV logger kept them, else the last of each epoch."""
    for path in sorted(case.run.glob("csv/*/metrics.csv"), reverse=True):
        with path.open() as file:
            norms = [float(row["train/grad_norm"]) for row in csv.DictReader(file) if row.get("train/grad_norm")]
        if norms:
            return np.array(norms), case.name_of(path)
    return _curve(case, "train/grad_norm")[:, 1], "history.json"


def _intervals(space: str) -> dict[str, tuple[float, float]]:
    """Ends of the continuous ranges of a search space."""
    content = OmegaConf.to_container(OmegaConf.load(CONFIGS / "search_space" / f"{space}.yaml"))
    assert isinstance(content, dict)
    found = {str(key): re.search(r"interval\(([^,]+),([^)]+)\)", str(value)) for key, value in content.items()}
    return {key: (float(match[1]), float(match[2])) for key, match in found.items() if match}
