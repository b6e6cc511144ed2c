"""A checkpoint to files that run without this project: ONNX, an int8 variant, and a model card with all limits."""

import dark_halo_scope.torchvision_ops  # noqa: F401
