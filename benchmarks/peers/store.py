"""Dark Halo Scope on the training store that `halo prepare` writes."""

from pathlib import Path

from benchmarks.contender import Contender
from benchmarks.peers.direct import train_batches
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare


def _float16(source: Path, folder: Path) -> None:
    prepare(str(source), folder, StoreOptions(precision="float16"), progress=False)


def _float32(source: Path, folder: Path) -> None:
    prepare(str(source), folder, StoreOptions(precision="float32"), progress=False)


CONTENDERS = [
    Contender("store float16 (ours)", "float16", _float16, train_batches),
    Contender("store float32 (ours)", "float32", _float32, train_batches),
]
