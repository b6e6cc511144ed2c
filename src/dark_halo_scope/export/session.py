"""An exported file at work."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dark_halo_scope.export.finder import INPUT, OUTPUTS

BATCH = 64


def run_onnx(path: Path, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (n,) and probabilities (n,) of raw stamps (n, 3, 64, 64) by an exported file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    logits, probabilities = zip(*(session.run(OUTPUTS, {INPUT: batch}) for batch in batches), strict=True)
    return np.concatenate(logits), np.concatenate(probabilities)
