"""Lightning callbacks: what happens around training. They know the trainer and its data, no task's internals."""

import dark_halo_scope.torchvision_ops  # noqa: F401  must run before lightning is imported
