"""Loggers that Lightning does not have in the form a long run needs."""

import dark_halo_scope.torchvision_ops  # noqa: F401  must run before lightning is imported
