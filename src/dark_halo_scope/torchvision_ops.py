"""Let torchvision load beside any build of torch. Import this before torchvision, lightning or torchmetrics.

The torchvision wheel on the package index is linked against CUDA. Beside a CPU-only torch its compiled operators do not
load, and ``import torchvision`` stops at "operator torchvision::nms does not exist" although nothing here uses box
operators. Where (and only where) the library does not load, the schemas that its Python side refers to are declared.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # kept: the schemas vanish with it


def _declare_missing_operators() -> None:
    global _library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchvision is not installed: run `make env` or `pip install torchvision`")
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            _library.define(schema)


_declare_missing_operators()
