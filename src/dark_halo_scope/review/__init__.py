"""Review: the questions that a finder must answer before its numbers are believed, asked of one run and its data."""

import dark_halo_scope.torchvision_ops  # noqa: F401  # before torchvision: see there
