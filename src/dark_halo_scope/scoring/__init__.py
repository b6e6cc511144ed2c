"""Stamps of any dataset to a score file: an ensemble of checkpoints, in parts that survive an interruption."""

import dark_halo_scope.torchvision_ops  # noqa: F401
