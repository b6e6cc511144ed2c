"""Parquet rows to batches of stamps: contract, codec, index, plan, stream, quarantine, datamodule."""

import dark_halo_scope.torchvision_ops  # noqa: F401
