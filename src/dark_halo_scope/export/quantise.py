"""An int8 variant of an exported network: convolutions and the last layer in integers, the normalisation in float.

Static quantisation fixes the ranges of all activations on training stamps; dynamic quantisation measures them anew in
every batch, so that a logit depends on the other stamps of its batch. Which one loses less depends on the network: both
are made and measured.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from dark_halo_scope.export.finder import INPUT
from dark_halo_scope.export.session import BATCH

_LAYERS = ["Conv", "Gemm", "MatMul"]

Images = NDArray[np.float32]


def write_int8(model: Path, training_images: Images, folder: Path) -> dict[str, Path]:
    """Write both variants of ``model`` into a folder.

    Args:
        model: File of the exported network.
        training_images: Raw stamps to take the ranges of activations from.
        folder: Where to.

    Returns:
        The files by method, ``static`` and ``dynamic``.
    """
    prepared = folder / "prepared.onnx"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    bare = onnx.load(prepared)
    del bare.graph.value_info[:]  # shapes of layers that the dynamic quantiser turns into others and then stumbles over
    onnx.save(bare, prepared)
    # Static first: of two that lose the same it is kept.
    variants = {method: folder / f"{method}.onnx" for method in ("static", "dynamic")}
    quantize_static(
        prepared,
        variants["static"],
        _Stamps(training_images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_LAYERS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    # ONNX Runtime has no kernel for a convolution of int8 weights with ranges taken at run time
    quantize_dynamic(prepared, variants["dynamic"], op_types_to_quantize=_LAYERS, weight_type=QuantType.QUInt8)
    return variants


class _Stamps(CalibrationDataReader):
    def __init__(self, images: Images) -> None:
        self._batches: Iterator[Images] = iter(np.array_split(images, max(1, len(images) // BATCH)))

    def get_next(self) -> dict[str, Images] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
