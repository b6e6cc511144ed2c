"""An export from the checkpoint to a finished folder."""

import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dark_halo_scope.callbacks.code_version import code_version
from dark_halo_scope.evaluation.calibration import calibrator_from_dict
from dark_halo_scope.export.card import write_card
from dark_halo_scope.export.finder import PACKAGES, ExportError, Finder, require_packages, write_onnx
from dark_halo_scope.export.losses import better, measure
from dark_halo_scope.export.sample import ExportSample, draw_sample
from dark_halo_scope.files import sha256
from dark_halo_scope.tasks.restore import load_task, read_checkpoint

MODEL, INT8 = "model.onnx", "model.int8.onnx"
MAX_LOGIT_DIFFERENCE = 1e-4
_MAX_PROBABILITY_DIFFERENCE = 1e-5
_N_CHECKED = 512


@dataclass(frozen=True)
class Export:
    """What to export.

    Attributes:
        checkpoint: File of the checkpoint.
        out: Folder to make.
        data: Labelled dataset to measure on; None for the one that the checkpoint was trained on.
        n_stamps: Most validation stamps to measure on.
        licence: Of the weights, in words.
    """

    checkpoint: Path
    out: Path
    data: str | None
    n_stamps: int
    licence: str


def export(asked: Export) -> dict[str, Any]:
    """Make the folder: ONNX, int8 variant, model card; all of it or nothing.

    Returns:
        The content of ``model_card.json``.

    Raises:
        ExportError: When packages are missing, ``out`` is there already, or the exported network differs from the
            trained one.
        CheckpointError: When the checkpoint cannot be read.
        ContractError: When the data cannot.
    """
    require_packages()
    if asked.out.exists():
        raise ExportError(f"{asked.out} is there already; move it away, or give another folder")
    checkpoint = read_checkpoint(asked.checkpoint)
    settings = checkpoint["config"]["data"]
    data = asked.data or settings["root"]
    finder = Finder(load_task(asked.checkpoint)).eval()
    sample = draw_sample(data, asked.n_stamps, settings["region_column"], settings["max_nonfinite_fraction"])
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{asked.out.name}.", dir=asked.out.parent) as unfinished:
        folder = Path(unfinished) / asked.out.name
        folder.mkdir()
        digest = sha256(asked.checkpoint)
        opset = write_onnx(finder, folder / MODEL, {"checkpoint_sha256": digest})
        facts = {
            "checkpoint": {"file": "/".join(asked.checkpoint.resolve().parts[-3:]), "sha256": digest},
            "licence": asked.licence,
            "opset": opset,
            "measured_on": {
                "data": data,
                "fingerprint": sample.fingerprint,
                "n_validation": len(sample.labels),
                "n_unusable": sample.n_unusable,
            },
            "fidelity": _fidelity(finder, checkpoint["calibrator"], folder / MODEL, sample),
            "int8": _quantise(folder, sample),
            "exported_with": code_version() | {"versions": {name: version(name) for name in ("torch", *PACKAGES)}},
        }
        card = write_card(folder, asked.checkpoint, checkpoint, facts)
        shutil.move(folder, asked.out)
    return card


def _fidelity(finder: Finder, calibrator: dict[str, Any], model: Path, sample: ExportSample) -> dict[str, Any]:
    """Hold the exported file against PyTorch on real stamps, one alone and many together."""
    from dark_halo_scope.export.session import run_onnx

    images = sample.validation[:_N_CHECKED]
    with torch.inference_mode():
        expected = torch.cat(
            [finder(torch.from_numpy(batch))[0] for batch in np.array_split(images, -(-len(images) // 64))]
        )
    logits, probabilities = run_onnx(model, images)
    alone, _ = run_onnx(model, images[:1])
    differences = np.abs(np.append(logits, alone) - np.append(expected.numpy(), expected[:1].numpy()))
    of_probability = np.abs(probabilities - calibrator_from_dict(calibrator).probability(expected.numpy()))
    if not (differences.max() < MAX_LOGIT_DIFFERENCE and of_probability.max() < _MAX_PROBABILITY_DIFFERENCE):
        raise ExportError(
            f"the exported network differs from the trained one by {differences.max():.2g} in a logit and "
            f"{of_probability.max():.2g} in a probability (allowed: {MAX_LOGIT_DIFFERENCE:g} and "
            f"{_MAX_PROBABILITY_DIFFERENCE:g}), so that it must not take its place; other versions of "
            "torch and onnxruntime may agree"
        )
    return {
        "n_stamps": len(images),
        "max_logit_difference": float(differences.max()),
        "max_probability_difference": float(of_probability.max()),
    }


def _quantise(folder: Path, sample: ExportSample) -> dict[str, Any]:
    """Make the int8 variants, keep the one that loses less, and say what both lose."""
    from dark_halo_scope.export.quantise import write_int8
    from dark_halo_scope.export.session import run_onnx

    before, _ = run_onnx(folder / MODEL, sample.validation)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        variants = write_int8(folder / MODEL, sample.training, Path(work))
        measured = {
            method: measure(before, run_onnx(path, sample.validation)[0], sample.labels, sample.regions)
            for method, path in variants.items()
        }
        chosen = better(measured)
        shutil.move(variants[chosen], folder / INT8)
    return {"chosen": chosen, "n_training": len(sample.training), "measured": measured}
