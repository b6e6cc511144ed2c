"""The whole way from raw pixels to a probability as one module, and that module as ONNX."""

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dark_halo_scope.evaluation.calibration import IsotonicCalibration, TemperatureScaling, calibrator_from_dict
from dark_halo_scope.stamps.contract import STAMP_SHAPE
from dark_halo_scope.tasks.lens_detection import LensDetectionTask

INPUT, OUTPUTS = "image", ("logit", "probability")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class ExportError(ValueError):
    """A network that cannot be exported, or would not be the same network."""


class Finder(nn.Module):
    """Raw stamps to logit and calibrated probability.

    Args:
        task: A calibrated task.

    Raises:
        ExportError: When it was never calibrated.
    """

    def __init__(self, task: LensDetectionTask) -> None:
        super().__init__()
        if task.calibrator is None:
            raise ExportError(
                "the checkpoint has no calibrator, without which its probabilities mean nothing: export the best.ckpt "
                "of a finished run"
            )
        self.normalise = task.normalise
        self.network = task.network.to(memory_format=torch.contiguous_format)
        self.probability = calibration_module(task.calibrator)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map nanomaggies (B, 3, 64, 64) to logits (B,) and probabilities (B,)."""
        logit = self.network(self.normalise(image))
        return logit, self.probability(logit)


class _Temperature(nn.Module):
    def __init__(self, calibrator: TemperatureScaling) -> None:
        super().__init__()
        self.temperature = calibrator.temperature

    def forward(self, logit: Tensor) -> Tensor:
        return torch.sigmoid(logit / self.temperature)


class _Isotonic(nn.Module):
    """Linear between knots, constant beyond: the sum of what each segment has risen by."""

    knots: Tensor
    widths: Tensor
    rises: Tensor

    def __init__(self, calibrator: IsotonicCalibration) -> None:
        super().__init__()
        knots = torch.tensor(calibrator.knot_logits)
        heights = torch.tensor(calibrator.knot_probabilities)
        self.lowest = float(heights[0])
        self.register_buffer("knots", knots[:-1])
        self.register_buffer("widths", knots.diff())
        self.register_buffer("rises", heights.diff())

    def forward(self, logit: Tensor) -> Tensor:
        passed = ((logit[:, None] - self.knots) / self.widths).clamp(0, 1)  # (B, segments)
        return self.lowest + (passed * self.rises).sum(dim=1)


def calibration_module(state: Mapping[str, Any]) -> nn.Module:
    """The calibrator of a checkpoint as a module from logits (B,) to probabilities (B,)."""
    calibrator = calibrator_from_dict(state)
    return _Temperature(calibrator) if isinstance(calibrator, TemperatureScaling) else _Isotonic(calibrator)


def require_packages() -> None:
    """Refuse before anything is done where the packages of the extra are not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ExportError(f"{', '.join(missing)} is not installed: pip install 'dark-halo-scope[export]'")


def write_onnx(finder: Finder, path: Path, facts: Mapping[str, str]) -> int:
    """Write a module as ONNX of any batch size, weights included.

    Args:
        finder: In eval mode, on the CPU.
        path: File to write.
        facts: Properties that the file carries.

    Returns:
        The opset.
    """
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations while it traces
        program = torch.onnx.export(
            finder.eval(),
            (torch.zeros(2, *STAMP_SHAPE),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            custom_translation_table={torch.ops.aten.median.dim: _median},
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return int(model.opset_import[0].version)


def _median(self: Any, dim: int, keepdim: bool = False) -> Any:
    """torch.median over a dimension of fixed length, the lower of two middle values, which ONNX has no operator for."""
    from onnxscript import opset18 as op

    assert not keepdim
    constant: Any = op.Constant  # declared as any type at all, which no other operator takes
    middle = (self.shape[dim] - 1) // 2
    values, indices = op.TopK(self, constant(value_ints=[middle + 1]), axis=dim, largest=0, sorted=1)
    last = constant(value_int=middle)
    return op.Gather(values, last, axis=dim), op.Gather(indices, last, axis=dim)
