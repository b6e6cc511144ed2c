"""Loaders of small datasets, and what their batches hold."""

import tempfile
import threading
from pathlib import Path

from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import EvalLoader, TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.stream import StreamOptions


def make_loader(folder, split="train", *, limit=0.001, batch_size=16, rank=0, world=1, seed=0, **options):
    index = StampIndex.build(str(folder))
    quarantine = Quarantine(index, Path(tempfile.mkdtemp(dir=folder)), limit=limit)
    share = Share(batch_size, rank, world)
    options = {"lanes": 8} | options
    if split == "train":
        return TrainLoader(index, split, quarantine, share, StreamOptions(**options), seed=seed)
    return EvalLoader(index, split, quarantine, share, StreamOptions(**options))


def all_rows(batches) -> list[int]:
    return sorted(row for batch in batches for row in batch["row"].tolist())


def rows_of(batches) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


def stream_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("stamps")]
