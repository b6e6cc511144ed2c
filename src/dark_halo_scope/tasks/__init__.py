"""Tasks: what is learnt from a batch, how it is optimised, and which numbers say how well."""

import dark_halo_scope.torchvision_ops  # noqa: F401
