"""Processes started from here import lightning too, and have no conftest before them."""

import dark_halo_scope.torchvision_ops  # noqa: F401
