"""Windows of sensor recordings, a row each: contract, index, reader, datamodule; a simulated study and an importer."""

import dark_halo_scope.torchvision_ops  # noqa: F401
